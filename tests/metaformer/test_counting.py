"""Params equal timm's; MACs equal timm's counted the same way; the published figures beside."""

from __future__ import annotations

import logging

import pytest
import timm
import torch
from parity import PAIRS

from metaformer import build_backbone, count_backbone, load_spec
from metaformer.counting import cost_of, count_macs, count_params, fvcore_macs, training_bytes
from mixers import MixerRegistry

# params in millions and MACs in billions as published (InceptionNeXt, table 2; MetaFormer
# Baselines, table 2), and what explains a difference beyond their rounding
PUBLISHED = {
    "inceptionnext_t": (28, 4.2, None),
    "convnext_t": (29, 4.5, None),
    "convformer_s18": (27, 3.9, None),
    "swin_t": (29, 4.5, "28.29 M is cut up to 29 in the papers"),
}
MULTIPLICATIONS = {"conv", "linear", "matmul"}


@pytest.mark.parametrize("name", PAIRS)
def test_params_equal_timms_exactly(name: str, registry: MixerRegistry) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(PAIRS[name])
    assert count_backbone(load_spec(name, registry), registry).total.params == count_params(theirs)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("image_size", [224, 96])
def test_macs_equal_timms_counted_the_same_way(
    name: str, image_size: int, registry: MixerRegistry
) -> None:
    size = {"img_size": image_size} if name == "swin_t" else {}
    with torch.device("meta"):
        theirs = timm.create_model(PAIRS[name], **size).eval()
    cost = count_backbone(load_spec(name, registry), registry, image_size=image_size)
    assert cost.total.macs == count_macs(theirs, image_size)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_figures_are_met_within_their_rounding(
    name: str, registry: MixerRegistry
) -> None:
    params, macs, explanation = PUBLISHED[name]
    cost = count_backbone(load_spec(name, registry), registry).total
    assert cost.macs / 1e9 == pytest.approx(macs, abs=0.05)
    off = abs(cost.params / 1e6 - params)
    assert (off <= 0.5) == (explanation is None)
    assert off < 1


@pytest.mark.parametrize("name", PAIRS)
def test_fvcores_count_differs_by_its_norms_and_pooling_only(
    name: str, registry: MixerRegistry
) -> None:
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    model = build_backbone(load_spec(name, registry), registry, image_size=64)
    by_operator = fvcore_macs(model, 64)
    multiplied = sum(by_operator.get(kind, 0) for kind in MULTIPLICATIONS)
    assert multiplied == cost_of(model).total.macs
    assert set(by_operator) - MULTIPLICATIONS <= {"batch_norm", "layer_norm", "adaptive_avg_pool2d"}


def test_the_parts_add_up_to_the_whole(registry: MixerRegistry) -> None:
    for name in ("swin_t_inception", "convformer_s18"):
        cost = count_backbone(load_spec(name, registry), registry)
        parts = [cost.stem, *cost.stages, cost.head]
        assert sum(part.params for part in parts) == cost.total.params
        assert sum(part.macs for part in parts) == cost.total.macs


def test_attention_is_counted_by_hand(registry: MixerRegistry) -> None:
    """At 224 a CAFormer-like last stage has 49 tokens: projections and two products a block."""
    spec = load_spec("convformer_s18", registry)
    plain = count_backbone(spec, registry).stages[3].macs
    stage = spec.stages[3].model_copy(
        update={
            "mixer": type(spec.stages[0])
            .model_validate({**spec.stages[3].model_dump(), "mixer": "attention"})
            .mixer
        }
    )
    with_attention = spec.model_copy(update={"stages": (*spec.stages[:3], stage)})
    tokens, width = 49, 512
    attention = tokens * width * (3 * width + width) + 2 * tokens * tokens * width
    separable = tokens * 2 * (2 * width * width) + tokens * 2 * width * 49
    counted = count_backbone(with_attention, registry).stages[3].macs
    assert counted - plain == 3 * (attention - separable)


def test_training_memory_grows_with_the_batch_and_covers_the_optimizer(
    registry: MixerRegistry,
) -> None:
    model = build_backbone(load_spec("inceptionnext_t", registry), registry, device="meta")
    fixed = 12 * count_params(model)
    small, large = (training_bytes(model, 224, batch) for batch in (2, 64))
    assert fixed < small < large
    assert (large - fixed) == pytest.approx(32 * (small - fixed), rel=0.01)


def test_the_estimate_of_training_memory_is_what_a_real_step_keeps(registry: MixerRegistry) -> None:
    """The same count of saved tensors with real ones."""
    spec = load_spec("convnext_t", registry)
    meta = training_bytes(build_backbone(spec, registry, device="meta", image_size=32), 32, 2)
    real = build_backbone(spec, registry, image_size=32)
    kept: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in real.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = real(torch.randn(2, 3, 32, 32))
    seen = sum(size for pointer, size in kept.items() if pointer not in weights)
    assert output.requires_grad
    assert meta - 12 * count_params(real) == pytest.approx(seen, rel=0.1)
