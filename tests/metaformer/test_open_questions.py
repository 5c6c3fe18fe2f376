"""The study's open questions: ConvNeXt's roadmap as specs, and parts next to the mixer as axes."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from metaformer import build_backbone, load_spec, zoo_names
from metaformer.spec import BackboneSpec
from mixers import Choice, Domain, MixerRegistry, OptionValue
from search.config.load import load_study
from search.space.search_space import SearchSpace

ROADMAP = ["resnet50", *sorted(name for name in zoo_names() if name.startswith("roadmap_"))]
EXAMPLE = Path(__file__).parents[2] / "examples" / "open_questions.yaml"


def changed_fields(before: Any, after: Any, path: str = "") -> set[str]:
    """The fields in which two specs differ, without the numbers of stages."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = before.keys() | after.keys()
        parts = (changed_fields(before.get(k), after.get(k), f"{path}.{k}") for k in keys)
        return set().union(*parts)
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return set().union(
            *(changed_fields(a, b, path) for a, b in zip(before, after, strict=True))
        )
    return set() if before == after else {path.removeprefix(".")}


STEPS = {
    "roadmap_01_stage_ratio": {"stages.depth"},
    "roadmap_02_patchify": {"stem.kernel_size", "stem.stride", "stem.padding", "stem.max_pool"},
    "roadmap_03_depthwise": {"stages.mixer.conv", "stages.mixer.large_kernel_dw",
                             "stages.downsample.depthwise"},
    "roadmap_04_width": {"stem.width", "stages.width"},
    "roadmap_05_inverted": {"stem.width", "stages.mlp.ratio", "stages.width", "stages.depth",
                            "stages.downsample"},
    "roadmap_06_depthwise_first": {"stages.block"},
    "roadmap_07_kernel_7": {"stages.mixer.large_kernel_dw.kernel_size",
                            "stages.downsample.kernel_size", "stages.downsample.padding"},
    "roadmap_08_gelu": {"stem.activation", "stages.mlp.activation"},
    "roadmap_09_one_activation": {"stem.activation", "stages.activations"},
    "roadmap_10_one_norm": {"stages.mlp.norm.kind", "stages.mlp.norm.eps"},
    "roadmap_11_layer_norm": {"stem.norm.kind", "stem.norm.eps", "stages.norm.kind",
                              "stages.norm.eps", "stages.downsample.norm.kind",
                              "stages.downsample.norm.eps"},
    "roadmap_12_downsampling": {"stem.bias", "stages.mlp.bias", "stages.depth",
                                "stages.downsample.kind", "stages.downsample.kernel_size",
                                "stages.downsample.padding", "stages.downsample.depthwise",
                                "stages.downsample.bias", "head.norm.kind", "head.norm.eps"},
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), list(pairwise(ROADMAP)))
def test_a_step_of_the_roadmap_changes_what_it_says_and_nothing_else(
    before: str, after: str, registry: MixerRegistry
) -> None:
    datas = [load_spec(name, registry).to_data() for name in (before, after)]
    assert changed_fields(*datas) - {"name"} == STEPS[after]


def test_the_roadmap_ends_at_convnext_without_its_layer_scale(registry: MixerRegistry) -> None:
    last = load_spec(ROADMAP[-1], registry).to_data()
    goal = load_spec("convnext_t", registry).to_data()
    differing = changed_fields(last, goal)
    assert differing == {
        "name", "drop_path_rate", "stages.layer_scale",
        "stages.mlp.kind",  # which says the same: a 1×1 convolution is a linear layer
    }  # fmt: skip


@pytest.mark.parametrize("name", ROADMAP)
def test_every_step_of_the_roadmap_trains(name: str, registry: MixerRegistry) -> None:
    torch.manual_seed(0)
    model = build_backbone(load_spec(name, registry), registry, image_size=32)
    model(torch.randn(2, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_example_study_opens_every_part_beside_the_mixer(registry: MixerRegistry) -> None:
    space = SearchSpace(load_study(EXAMPLE, {}, device="cpu").space, registry, fields={"name": "x"})
    opened = {name.split("#")[0].replace("stages.", "") for name in space.parameters}
    parts = {name.partition(".")[2] if name[0].isdigit() else name for name in opened}
    assert {"stem", "downsample", "block", "depth", "norm", "mlp.ratio", "mlp.activation",
            "mlp.kind", "mlp.gated"} <= parts  # fmt: skip
    generator = random.Random(0)
    seen: list[BackboneSpec] = []
    for _ in range(40):
        seen.append(space.backbone(lambda _name, domain: draw(domain, generator)))
        model = build_backbone(seen[-1], registry, device="meta")
        assert model(torch.empty(2, 3, 64, 64, device="meta")).shape[0] == 2
    assert {stage.block for spec in seen for stage in spec.stages} == {
        "metanext", "metaformer", "bottleneck",
    }  # fmt: skip
    assert len({spec.digest for spec in seen}) == 40


def draw(domain: Domain, generator: random.Random) -> OptionValue:
    assert isinstance(domain, Choice)
    return generator.choice(domain.values)
