"""How many combinations a space has, held against listing them all."""

from __future__ import annotations

from functools import partial

import pytest
from tiny import STUDY, write_study

from mixers import Choice, Domain, MixerRegistry, OptionValue
from search.config.load import load_study
from search.space.search_space import SearchSpace
from search.space.size import size_of

STAGES = """\
  stages:
    - depth: {choice: [1, 2]}
      width: {choice: [4, 6, 8]}
      block: metanext
      mixer: {choice: [identity, pooling]}
      norm: batch_norm
"""


def space_of(registry: MixerRegistry, stages: str = STAGES) -> SearchSpace:
    text = STUDY.replace(STAGES, stages)
    assert (text == STUDY) is (stages == STAGES)
    study = load_study(write_study(text), {}, device="cpu")
    return SearchSpace(study.space, registry, fields={"name": "x", "num_classes": 10})


def choose(
    fixed: dict[str, OptionValue], later: list[dict[str, OptionValue]], name: str, domain: Domain
) -> OptionValue:
    """What is fixed, or the first value, with the others left for later."""
    if name not in fixed:
        assert isinstance(domain, Choice)
        first, *others = domain.values
        later += [{**fixed, name: value} for value in others]
        fixed[name] = first
    return fixed[name]


def listed(space: SearchSpace) -> int:
    """All combinations, one after the other: a depth-first walk over what is asked for."""
    count = 0
    pending: list[dict[str, OptionValue]] = [{}]
    while pending:
        fixed = pending.pop()
        later: list[dict[str, OptionValue]] = []

        space.backbone(partial(choose, fixed, later))
        pending += later
        count += 1
    return count


def test_choices_multiply_and_options_count_under_their_mixer(registry: MixerRegistry) -> None:
    size = size_of(space_of(registry))
    assert size.combinations == 2 * 3 * (1 + 2)  # pooling has two sizes, identity none
    assert size.continuous == ()


def test_conditions_within_conditions_are_counted_as_often_as_they_can_be_listed(
    registry: MixerRegistry,
) -> None:
    stages = """\
  stages:
    - {depth: 1, width: 16, block: {choice: [metanext, metaformer]}, norm: batch_norm,
       mixer: {any: {attention: {head_width: 8}, window_attention: {window: 4, head_width: 8}}}}
    - {depth: {choice: [1, 2]}, width: 16, block: metaformer, norm: batch_norm,
       mixer: {choice: [pooling, {inception_dw: {band_kernel: {choice: [3, 5]}}}]}}
"""
    space = space_of(registry, stages)
    assert size_of(space).combinations == listed(space)


def test_ranges_count_their_values_and_continuous_ones_are_named(registry: MixerRegistry) -> None:
    stages = STAGES.replace("{choice: [1, 2]}", "{range: [1, 9, 2]}").replace(
        "norm: batch_norm",
        "mlp: {ratio: {range: [2, 4, 0.5]}}\n      layer_scale: {range: [0.1, 1]}"
        "\n      norm: batch_norm",
    )
    size = size_of(space_of(registry, stages))
    assert size.combinations == 5 * 3 * (1 + 2) * 5
    assert size.continuous == ("stages.0.layer_scale",)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_default_spaces_are_counted_without_listing_them(
    registry: MixerRegistry, device: str
) -> None:
    study = load_study(None, {"budget": {"train": 900}}, device="cpu")
    if device == "cuda":
        study = load_study(None, {"budget": {"train": 900}}, device="cuda:0")
    space = SearchSpace(study.space, registry, fields={"name": "x", "num_classes": 10})
    assert size_of(space).combinations > 10**6
