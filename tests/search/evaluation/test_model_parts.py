from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from metaformer import build_backbone, load_spec
from mixers import MixerRegistry
from search.evaluation._model_parts import backbone_parts, mixer_part_names


def test_a_backbones_parts_are_named_by_stage_block_and_mixer(registry: MixerRegistry) -> None:
    model = build_backbone(load_spec("inceptionnext_t", registry), registry, device="meta")
    parts = backbone_parts(model)
    assert list(parts)[:4] == [
        "stem",
        "stages.0",
        "stages.0.blocks.0 inception_dw",
        "stages.0.blocks.0 mlp",
    ]
    assert list(parts)[-1] == "head"
    assert parts["stages.2.blocks.5 inception_dw"] is model.stages[2].blocks[5].mixer  # type: ignore[union-attr,index]
    assert parts["stages.1.downsample"] is model.stages[1].downsample
    assert len(mixer_part_names(model)) == 3 + 3 + 9 + 3
    assert set(mixer_part_names(model)) <= set(parts)


@pytest.mark.parametrize("name", ["caformer_s18", "resnet50", "swin_t", "identityformer_s12"])
def test_every_part_is_called_once_in_a_forward_pass(name: str, registry: MixerRegistry) -> None:
    model = build_backbone(load_spec(name, registry), registry, device="meta")
    calls: dict[str, int] = {}
    for part_name, part in backbone_parts(model).items():
        part.register_forward_hook(
            lambda *_, part_name=part_name: calls.update({part_name: calls.get(part_name, 0) + 1})  # type: ignore[misc]
        )
    model.eval()(torch.empty(1, 3, model.image_size, model.image_size, device="meta"))
    assert calls == dict.fromkeys(backbone_parts(model), 1)


def test_mixers_of_hybrids_have_their_own_names(registry: MixerRegistry) -> None:
    model = build_backbone(load_spec("caformer_s18", registry), registry, device="meta")
    kinds = [name.split()[1] for name in mixer_part_names(model)]
    assert set(kinds) == {"separable_conv", "attention"}


def test_other_modules_have_their_children_and_grandchildren() -> None:
    with torch.device("meta"):
        model = timm.create_model("resnet18")
    names = list(backbone_parts(model))
    assert names[:6] == ["conv1", "bn1", "act1", "maxpool", "layer1", "layer1.0"]
    assert "layer1.0.conv1" not in names
    assert mixer_part_names(model) == []


def test_lists_of_modules_stand_for_what_they_hold() -> None:
    shared = nn.ReLU()
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Sequential(nn.Conv2d(3, 3, 1), shared), shared])
    model.nothing = nn.Identity()
    assert list(backbone_parts(model)) == ["layers.0", "layers.0.0", "layers.0.1"]
