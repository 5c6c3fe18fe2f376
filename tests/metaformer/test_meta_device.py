"""Backbones that are built on the meta device and get their memory later, as transformers does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models._manipulate import reinit_non_persistent_buffers
from torch import nn

from metaformer import BackboneSpec, build_backbone, load_spec
from mixers import MixerRegistry

MIXERS: list[Any] = [
    "attention", "conv", "focal_modulation", "identity", "inception_dw", "large_kernel_dw",
    "pooling", "random_mixing", "separable_conv", "window_attention",
    {"window_attention": {"window": 3, "shifted": True}},
    {"window_attention": {"window": 5, "shifted": False}},
    ["window_attention", {"window_attention": {"window": 4}}],
]  # fmt: skip


def data_with(mixer: Any) -> dict[str, Any]:
    stage = {"depth": 3, "width": 16, "block": "metaformer", "norm": "batch_norm", "mixer": mixer}
    stem = {"kernel_size": 2, "stride": 2, "norm": "batch_norm"}
    head = {"norm": "layer_norm"}
    fields = {"name": "x", "num_classes": 5, "image_size": 16, "drop_path_rate": 0.1}
    return {**fields, "stem": stem, "stages": [stage], "head": head}


def scramble(model: nn.Module) -> None:
    """Makes what `to_empty` leaves in tables visible, whatever lay in that memory before."""
    for buffer in model.buffers():
        buffer.fill_(float("nan") if buffer.is_floating_point() else 2**30)


@pytest.mark.parametrize("mixer", MIXERS, ids=str)
def test_a_backbone_of_the_meta_device_is_whole_after_loading_and_rebuilding(
    mixer: Any, registry: MixerRegistry
) -> None:
    spec = BackboneSpec.model_validate(data_with(mixer))
    model = build_backbone(spec, registry).eval()
    again = build_backbone(spec, registry, device="meta").to_empty(device="cpu").eval()
    scramble(again)
    again.load_state_dict(model.state_dict(), strict=True)
    reinit_non_persistent_buffers(again)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(model(images), again(images))


@pytest.mark.slow
def test_swin_of_the_meta_device_is_whole_after_loading_and_rebuilding() -> None:
    spec = load_spec("swin_t")
    model = build_backbone(spec).eval()
    again = build_backbone(spec, device="meta").to_empty(device="cpu").eval()
    scramble(again)
    again.load_state_dict(model.state_dict(), strict=True)
    rebuilt = reinit_non_persistent_buffers(again)
    assert len(rebuilt) == 12
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(model(images), again(images))


def settings() -> dict[str, Any]:
    return {"spec": {"schema": 1, **data_with("window_attention")}}


@pytest.mark.slow
def test_transformers_restores_a_backbone_of_windows_as_a_classifier(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.TimmWrapperConfig(
        architecture="mf_spec", num_labels=5, model_args=settings()
    )
    model = transformers.TimmWrapperForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    again = transformers.TimmWrapperForImageClassification.from_pretrained(tmp_path).eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(again(images).logits, model(images).logits)


@pytest.mark.slow
def test_transformers_restores_a_backbone_of_windows_under_a_decoder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    own = transformers.TimmBackboneConfig(backbone="mf_swin_t_inception", out_indices=[0, 1, 2, 3])
    config = transformers.UperNetConfig(
        backbone_config=own, num_labels=4, use_auxiliary_head=False, hidden_size=16
    )
    model = transformers.UperNetForSemanticSegmentation(config).eval()
    model.save_pretrained(tmp_path)
    again = transformers.UperNetForSemanticSegmentation.from_pretrained(tmp_path).eval()
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(again(images).logits, model(images).logits)
