"""Params equal timm's; MACs equal timm's counted the same way; the published figures next to."""

from __future__ import annotations

import logging

import pytest
import timm
import torch
from parity import EACH_PAIR, PAIRS, SETTINGS

from metaformer import build_backbone, count_backbone, load_spec, published, zoo_names, zoo_table
from metaformer.counting import (
    cost_of,
    count_macs,
    count_params,
    fvcore_macs,
    inference_bytes,
    stored_bytes,
    training_bytes,
)
from mixers import MixerRegistry

# where a published figure is not met within its rounding, and why
EXPLAINED = {
    "swin_t": "28.29 M params are printed as 29 M in the papers",
    "inceptionnext_b": "14.84 G MACs; fvcore counts norms too, 14.85, printed as 14.9",
    "inceptionnext_atto": "0.503 G MACs; fvcore counts norms too, 0.507, printed as 0.51",
    "poolformer_m48": "11.53 G MACs; fvcore counts norms too, 11.59, printed as 11.6",
    "inceptionnext_s_iso": "4.2252 G MACs, printed as 4.22",
    "convnext_b_384": "45.12 G MACs; printed as 45.0, which neither way of counting gives",
}
MULTIPLICATIONS = {"conv", "linear", "matmul"}
NORMS_AND_POOLING = {"batch_norm", "layer_norm", "group_norm", "adaptive_avg_pool2d"}


@pytest.mark.parametrize(
    "name",
    [
        name if name in PAIRS or name in EXPLAINED else pytest.param(name, marks=pytest.mark.slow)
        for name in zoo_names()
    ],
)
def test_counts_equal_timms_and_meet_what_was_published(name: str, registry: MixerRegistry) -> None:
    """Params exactly, MACs counted the same way; published figures within their rounding."""
    spec = load_spec(name, registry)
    cost = count_backbone(spec, registry).total
    written = next(entry for entry in zoo_table() if entry.name == name)
    assert (written.params, written.macs) == (cost.params, cost.macs)
    if published(name).timm is not None:
        size = {"img_size": spec.image_size} if published(name).family == "Swin" else {}
        with torch.device("meta"):
            theirs = timm.create_model(str(published(name).timm), **SETTINGS.get(name, {}), **size)
        assert cost.params == count_params(theirs)
        assert cost.macs == count_macs(theirs.eval(), spec.image_size)
    printed = published(name)
    met = is_met(printed.params, cost.params / 1e6, digits=0) and is_met(
        printed.macs, cost.macs / 1e9, digits=1
    )
    assert met == (name not in EXPLAINED), (printed, cost)


def is_met(printed: float | None, found: float, *, digits: int) -> bool:
    """Whether `found` is `printed` within half a unit of its last digit, `digits` at least."""
    if printed is None:
        return True
    digits = max(digits, len(str(printed).partition(".")[2].rstrip("0")))
    return abs(printed - found) <= 0.5 * 10**-digits + 1e-9


@pytest.mark.parametrize("name", EACH_PAIR)
def test_macs_equal_timms_at_another_size(name: str, registry: MixerRegistry) -> None:
    size = {"img_size": 96} if name == "swin_t" else {}
    with torch.device("meta"):
        theirs = timm.create_model(PAIRS[name], **size).eval()
    cost = count_backbone(load_spec(name, registry), registry, image_size=96)
    assert cost.total.macs == count_macs(theirs, 96)


@pytest.mark.parametrize("name", EACH_PAIR)
def test_fvcores_count_differs_by_its_norms_and_pooling_only(
    name: str, registry: MixerRegistry
) -> None:
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    model = build_backbone(load_spec(name, registry), registry, image_size=64)
    by_operator = fvcore_macs(model, 64)
    multiplied = sum(by_operator.get(kind, 0) for kind in MULTIPLICATIONS)
    assert multiplied == cost_of(model).total.macs
    assert set(by_operator) - MULTIPLICATIONS <= NORMS_AND_POOLING


def test_the_parts_add_up_to_the_whole(registry: MixerRegistry) -> None:
    for name in ("swin_t_inception", "convformer_s18"):
        cost = count_backbone(load_spec(name, registry), registry)
        parts = [cost.stem, *cost.stages, cost.head]
        assert sum(part.params for part in parts) == cost.total.params
        assert sum(part.macs for part in parts) == cost.total.macs


def mlp(width: int, ratio: int = 4) -> int:
    return 2 * ratio * width * width + ratio * width + width


def depthwise(channels: int, taps: int) -> int:
    return channels * taps + channels


BAND = 11
ISOTROPIC_STEM = 3 * 16 * 16 * 384 + 384
LINEAR_HEAD_AFTER_NORM = 2 * 384 + 384 * 1000 + 1000
WIDTHS, DEPTHS = (96, 192, 384, 768), (3, 3, 9, 3)


def inception(width: int, taps: tuple[int, ...]) -> int:
    return sum(depthwise(width // 8, tap) for tap in taps)


@pytest.mark.parametrize(
    ("name", "stem", "stage_of", "head"),
    [
        (
            "inceptionnext_s_iso",
            ISOTROPIC_STEM,
            [18 * (inception(384, (9, BAND, BAND)) + 2 * 384 + mlp(384))],
            LINEAR_HEAD_AFTER_NORM,
        ),
        (
            "convnext_s_iso",
            ISOTROPIC_STEM,
            [18 * (depthwise(384, 49) + 2 * 384 + mlp(384))],
            LINEAR_HEAD_AFTER_NORM,
        ),
        (
            "metanext_attn_s_iso",
            ISOTROPIC_STEM,
            [12 * (4 * (384 * 384 + 384) + 2 * 384 + mlp(384))],
            LINEAR_HEAD_AFTER_NORM,
        ),
        (
            "convnext_t_k3_ratio_1_8",
            3 * 4 * 4 * 96 + 96 + 2 * 96,
            [
                depth * (depthwise(width // 8, 9) + 2 * width + mlp(width) + width)
                + (0 if width == 96 else width + 4 * width // 2 * width + width)
                for width, depth in zip(WIDTHS, DEPTHS, strict=True)
            ],
            2 * 768 + 768 * 1000 + 1000,
        ),
        (
            "inceptionnext_t_no_vertical",
            3 * 4 * 4 * 96 + 96 + 2 * 96,
            [
                depth * (inception(width, (9, BAND)) + 2 * width + width)
                + depth * mlp(width, 3 if width == 768 else 4)
                + (0 if width == 96 else width + 4 * width // 2 * width + width)
                for width, depth in zip(WIDTHS, DEPTHS, strict=True)
            ],
            768 * 3 * 768 + 3 * 768 + 2 * 3 * 768 + 3 * 768 * 1000 + 1000,
        ),
    ],
)
def test_the_parts_of_what_timm_lacks_are_what_a_hand_counts(
    name: str, stem: int, stage_of: list[int], head: int, registry: MixerRegistry
) -> None:
    cost = count_backbone(load_spec(name, registry), registry)
    assert cost.stem.params == stem
    assert [stage.params for stage in cost.stages] == stage_of
    assert cost.head.params == head


@pytest.mark.parametrize("size", ["s12", "m48"])
def test_mixers_without_weights_leave_the_count_of_poolformer(
    size: str, registry: MixerRegistry
) -> None:
    """What random mixing adds is MACs: a product of all positions with all, for each channel."""
    pooling, identity, random = (
        count_backbone(load_spec(f"{family}_{size}", registry), registry)
        for family in ("poolformerv2", "identityformer", "randformer")
    )
    assert pooling.total == identity.total
    assert random.total.params == pooling.total.params
    spec = load_spec(f"randformer_{size}", registry)
    mixing = sum(
        stage.depth * stage.width * positions**2
        for stage, positions in zip(spec.stages[2:], (14 * 14, 7 * 7), strict=True)
    )
    assert random.total.macs - identity.total.macs == mixing


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


def test_inference_memory_is_the_weights_and_the_largest_pair_of_maps(
    registry: MixerRegistry,
) -> None:
    model = build_backbone(load_spec("inceptionnext_t", registry), registry, device="meta")
    # into and out of the activation of the first stage: 4 x 96 channels of 56 x 56
    maps = 4 * 56 * 56 * 2 * 384
    fixed = stored_bytes(model)
    assert inference_bytes(model, 224, 2) == fixed + 2 * maps
    assert inference_bytes(model, 224, 2, half_precision=True) == fixed + maps


def test_counting_leaves_every_part_in_its_mode(registry: MixerRegistry) -> None:
    model = build_backbone(load_spec("inceptionnext_t", registry), registry, image_size=64)
    model.stem.eval()
    count_macs(model, 64)
    fvcore_macs(model, 64)
    assert not model.stem.training
    assert model.stages.training


def test_tables_and_masks_count_as_memory(registry: MixerRegistry) -> None:
    model = build_backbone(load_spec("swin_t", registry), registry, device="meta")
    buffers = sum(buffer.nbytes for buffer in model.buffers())
    assert buffers > 0
    assert stored_bytes(model) == 4 * count_params(model) + buffers
