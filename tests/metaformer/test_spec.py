from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from metaformer import BackboneSpec, DownsampleSpec, HeadSpec, NormSpec, StageSpec, StemSpec
from mixers import MixerSpec


def stage(**fields: object) -> StageSpec:
    return StageSpec.model_validate(
        {"depth": 2, "width": 8, "block": "metanext", "mixer": "pooling", "norm": "batch_norm"}
        | fields
    )


def backbone(**fields: object) -> BackboneSpec:
    return BackboneSpec.model_validate(
        {"name": "x", "stem": StemSpec(kernel_size=3, stride=2), "stages": (stage(),)} | fields
    )


def test_a_pattern_of_mixers_is_repeated_over_the_blocks_and_cut_at_the_depth() -> None:
    mixers = stage(depth=5, mixer=["pooling", {"attention": {"head_width": 8}}]).block_mixers
    attention = MixerSpec.of("attention", {"head_width": 8})
    assert mixers == tuple(
        MixerSpec("pooling") if block % 2 == 0 else attention for block in range(5)
    )


def test_specs_are_frozen_and_hashable() -> None:
    with pytest.raises(ValidationError):
        stage().depth = 3  # type: ignore[misc]
    assert hash(stage()) == hash(stage())


def test_each_norm_has_its_own_epsilon() -> None:
    kinds = ("batch_norm", "layer_norm", "group_norm", "none")
    assert [NormSpec(kind=kind).eps for kind in kinds] == [1e-5, 1e-6, 1e-5, None]  # type: ignore[arg-type]
    assert NormSpec(kind="layer_norm", eps=1e-5).eps == 1e-5


def test_the_digest_ignores_the_name_and_how_a_pattern_is_written() -> None:
    one = backbone(name="a", stages=(stage(depth=4, mixer=["pooling", "identity"]),))
    other = backbone(name="b", stages=(stage(depth=4, mixer=["pooling", "identity"] * 2),))
    assert one.digest == other.digest
    assert len(one.digest) == 16


@pytest.mark.parametrize(
    "change",
    [
        {"num_classes": 10},
        {"image_size": 32},
        {"drop_path_rate": 0.1},
        {"stem": StemSpec(kernel_size=4, stride=2)},
        {"stages": (stage(depth=3),)},
        {"stages": (stage(mixer="identity"),)},
        {"stages": (stage(layer_scale=1e-6),)},
    ],
)
def test_the_digest_tells_different_networks_apart(change: dict[str, object]) -> None:
    assert backbone(**change).digest != backbone().digest


def test_the_digest_of_a_spec_never_changes() -> None:
    """Recorded trials are found again by it."""
    assert backbone().digest == "0eaaa841bc2c7c94"


def test_the_data_of_a_spec_validate_to_an_equal_spec() -> None:
    spec = backbone(stages=(stage(mixer=["pooling", {"attention": {"head_width": 8}}]),))
    assert BackboneSpec.model_validate(spec.to_data()) == spec


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"depth": 0}, "greater than or equal to 1"),
        ({"depth": 10_000}, "less than or equal to 512"),
        ({"depth": 2.0}, "valid integer"),
        ({"depth": True}, "valid integer"),
        ({"width": 10**9}, "less than or equal to 32768"),
        ({"layer_scale": float("nan")}, "finite"),
        ({"mixer": []}, "at least 1"),
        ({"residual_scale": 1.0}, "belongs to metaformer blocks"),
    ],
)
def test_values_outside_their_range_are_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        stage(**fields)


def test_patch_merging_takes_no_other_geometry_than_its_own() -> None:
    assert DownsampleSpec(kind="patch_merging").stride == 2
    for field, only in (("kernel_size", 2), ("stride", 2), ("padding", 0)):
        with pytest.raises(ValidationError, match=f"got 3; allowed in patch_merging: {only}"):
            DownsampleSpec.model_validate({"kind": "patch_merging", field: 3})
    with pytest.raises(ValidationError, match="got after; allowed in patch_merging: before"):
        DownsampleSpec(kind="patch_merging", norm_position="after")


def test_widths_that_change_without_a_downsample_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"got 16 after 8"):
        backbone(stages=(stage(), stage(width=16)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"stages": (stage(width=1),), "head": {"kind": "mlp", "ratio": 0.5}},
            "got 0.5, which leaves none of 1 channels; allowed: 1 up",
        ),
        ({"stages": (stage(depth=512),) * 3}, "got 1536 blocks in all; allowed: 1024"),
    ],
)
def test_fields_that_are_legal_each_but_not_together_are_refused(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        backbone(**changes)


def test_fields_that_say_nothing_do_not_change_the_digest() -> None:
    head = {"norm": {"kind": "none", "bias": False}, "norm_position": "before_pool"}
    assert backbone(head=head).digest == backbone().digest


@pytest.mark.parametrize(
    "field",
    [
        {"ratio": 7.0},
        {"activation": "relu"},
        {"hidden_norm": "layer_norm"},
        {"pre_logits": "pooled"},
    ],
)
def test_a_linear_head_refuses_what_belongs_to_an_mlp_head(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="belongs to an mlp head; got kind linear"):
        HeadSpec.model_validate(field)
    HeadSpec.model_validate({"kind": "mlp", **field})


def test_a_linear_head_may_hold_the_defaults_of_an_mlp_head() -> None:
    assert HeadSpec.model_validate(HeadSpec().model_dump()) == HeadSpec()


def test_a_stems_width_that_is_the_first_stages_does_not_change_the_digest() -> None:
    stem = {"kernel_size": 3, "stride": 2}
    assert backbone(stem={**stem, "width": 8}).digest == backbone(stem=stem).digest


def test_patch_merging_says_that_it_has_no_bias() -> None:
    assert DownsampleSpec(kind="patch_merging").bias is False


def test_an_mlp_without_channels_is_refused() -> None:
    with pytest.raises(ValidationError, match="got 0.125, which leaves none of 4 channels"):
        stage(width=4, mlp={"ratio": 0.125})
