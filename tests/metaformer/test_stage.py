from __future__ import annotations

import pytest
from torch import Tensor, nn

from metaformer import BackboneSpec, build_backbone
from mixers import MixerRegistry, PluginError, Site
from mixers._entry import MixerEntry


class Recorder(nn.Module):
    """Keeps the site that it was built for."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.site = site

    def forward(self, x: Tensor) -> Tensor:
        return x


class Gated(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 1)

    def no_weight_decay(self) -> set[str]:
        return {"conv.weight"}

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class Misspelt(Gated):
    def no_weight_decay(self) -> set[str]:
        return {"weight"}


class Raising(Gated):
    def no_weight_decay(self) -> set[str]:
        raise RuntimeError("not today")


class Shapeless(Gated):
    def no_weight_decay(self) -> set[str]:
        return "conv.weight"  # type: ignore[return-value]


def registry_with(**classes: type[nn.Module]) -> MixerRegistry:
    entries = [
        MixerEntry(name, "strangers", "1.0", f"strangers:{name}", lambda found=found: found)
        for name, found in classes.items()
    ]
    return MixerRegistry({entry.name: entry for entry in entries})


def spec_with(*mixers: str, **fields: object) -> BackboneSpec:
    stage = {"depth": 2, "width": 8, "block": "metaformer", "norm": "batch_norm"}
    stages = [{**stage, "mixer": mixer} for mixer in mixers]
    stem = {"kernel_size": 2, "stride": 2, "norm": "batch_norm"}
    data = {"name": "x", "image_size": 8, "stem": stem, "stages": stages}
    return BackboneSpec.model_validate({**data, "head": {"norm": "layer_norm"}, **fields})


def test_a_site_says_how_deep_it_stands_and_how_often_its_block_is_dropped() -> None:
    registry = registry_with(recorder=Recorder)
    model = build_backbone(spec_with("recorder", "recorder", drop_path_rate=0.3), registry)
    sites = [module.site for module in model.modules() if isinstance(module, Recorder)]
    assert [site.network_block for site in sites] == [0, 1, 2, 3]
    assert {(site.stage_depth, site.network_depth) for site in sites} == {(2, 4)}
    assert [round(site.drop_path, 6) for site in sites] == [0.0, 0.1, 0.2, 0.3]


def test_blocks_without_a_mixer_do_not_count_in_the_depth_of_a_site() -> None:
    residual = {
        "kind": "residual",
        "kernel_size": 3,
        "stride": 2,
        "padding": 1,
        "norm": "batch_norm",
    }
    spec = spec_with("recorder", "recorder", drop_path_rate=0.3)
    fields = spec.to_data()
    fields["stages"][1] |= {"block": "metanext", "downsample": residual}
    model = build_backbone(BackboneSpec.model_validate(fields), registry_with(recorder=Recorder))
    sites = [module.site for module in model.modules() if isinstance(module, Recorder)]
    assert [(site.network_block, site.network_depth) for site in sites][2:] == [(2, 4), (3, 4)]


def test_parameters_that_a_mixer_exempts_are_exempt_in_its_backbone() -> None:
    model = build_backbone(
        spec_with("gated", "recorder"), registry_with(gated=Gated, recorder=Recorder)
    )
    assert model.no_weight_decay() == {
        "stages.0.blocks.0.mixer.conv.weight",
        "stages.0.blocks.1.mixer.conv.weight",
    }
    model.prune_intermediate_layers([0])
    assert len(model.no_weight_decay()) == 2


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Misspelt, "got 'weight'; allowed: conv.weight, conv.bias"),
        (Raising, "RuntimeError: not today"),
        (Shapeless, "got 'conv.weight'; allowed: a set of names of parameters"),
    ],
)
def test_what_a_mixer_exempts_must_be_its_own(found: type[nn.Module], words: str) -> None:
    model = build_backbone(spec_with("bad"), registry_with(bad=found))
    with pytest.raises(PluginError, match=words) as error:
        model.no_weight_decay()
    assert str(error.value).startswith("strangers/bad in stages.0.blocks.0.mixer: ")
