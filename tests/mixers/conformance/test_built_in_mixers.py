from __future__ import annotations

import pytest

from mixers import MixerRegistry
from mixers.conformance import CHECK_NAMES, Status, check_mixer

# what a check says nothing of; everything else passes
SKIPPED = {
    "attention": set(),
    "conv": set(),
    "focal_modulation": {"fx"},
    "identity": set(),
    "inception_dw": set(),
    "large_kernel_dw": set(),
    "pooling": {"dilation"},
    "random_mixing": {"other_map_sizes"},
    "separable_conv": {"fx"},
    "window_attention": {"dilation", "fx"},
}

NOT_DECLARED = {"allows", "non_persistent_buffers"}
DECLARED = {"window_attention": {"non_persistent_buffers"}}


def test_the_table_names_every_built_in_mixer(registry: MixerRegistry) -> None:
    assert sorted(SKIPPED) == registry.names()


@pytest.mark.parametrize("name", SKIPPED)
def test_a_built_in_mixer_passes_every_check_that_applies(
    name: str, registry: MixerRegistry
) -> None:
    records = check_mixer(registry[name].mixer_class)
    assert [record.check for record in records] == list(CHECK_NAMES)
    assert [record for record in records if record.status is Status.FAILED] == []
    skipped = {record.check for record in records if record.status is Status.SKIPPED}
    assert skipped == SKIPPED[name] | NOT_DECLARED - DECLARED.get(name, set())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("inception_dw", "declares 11×11, depends on 11×11; 11 variants"),
        ("window_attention", "declares 7×7, depends on 7×7; 8 variants"),
        ("attention", "declares 29×31, depends on 29×31; 6 variants"),
        ("pooling", "declares 3×3, depends on 3×3; 3 variants"),
    ],
)
def test_the_declared_receptive_field_is_what_gradients_show(
    name: str, words: str, registry: MixerRegistry
) -> None:
    (record,) = check_mixer(registry[name].mixer_class, only=["receptive_field"])
    assert record.detail == words
