"""A space is legal if some combination is, whatever the order of its choices."""

from __future__ import annotations

import re
from itertools import permutations, product

import pytest

from metaformer import SpecError
from metaformer.extends import resolve_extends
from metaformer.yaml_tree import parse_yaml
from mixers import MixerRegistry
from search.space.search_space import SearchSpace


def space(stage: str, registry: MixerRegistry) -> SearchSpace:
    text = "name: x\nstem: {kernel_size: 2, stride: 2}\nstages:\n"
    text += "".join(f"  - {{depth: 1, width: 8, norm: none, {stage}}}\n" for _ in range(2))
    return SearchSpace(resolve_extends(parse_yaml(text, source="x.yaml")), registry)


LEGAL_TOGETHER = {
    "residual scales belong to metaformer": (
        "block: {{choice: [{}]}}, mixer: pooling, residual_scale: {{choice: [{}]}}",
        ("metanext", "metaformer"),
        ("null", "1.0"),
    ),
    "activations everywhere do not": (
        "block: {{choice: [{}]}}, mixer: pooling, activations: {{choice: [{}]}}",
        ("bottleneck", "metaformer"),
        ("all", "mlp"),
    ),
    "patch merging takes kernels of 2": (
        "block: metanext, mixer: pooling, "
        "downsample: {{kind: {{choice: [{}]}}, kernel_size: {{choice: [{}]}}}}",
        ("patch_merging", "conv"),
        ("2", "3"),
    ),
    "residual downsamples are no metaformer's": (
        "block: {{choice: [{}]}}, mixer: pooling, "
        "downsample: {{kind: {{choice: [{}]}}, kernel_size: 3, padding: 1}}",
        ("metaformer", "metanext"),
        ("residual", "conv"),
    ),
}


@pytest.mark.parametrize("kind", LEGAL_TOGETHER)
def test_a_space_is_legal_in_every_order_of_its_choices(kind: str, registry: MixerRegistry) -> None:
    stage, *choices = LEGAL_TOGETHER[kind]
    found = set()
    for orders in product(*map(permutations, choices)):
        opened = space(stage.format(*map(", ".join, orders)), registry)
        found.add(frozenset(opened.parameters))
    assert len(found) == 1


ILLEGAL = {
    "a value that no field takes": ("mlp: {{ratio: {{choice: [{}]}}}}", ("99", "2"), "got 99"),
    "a word for a number": ("layer_scale: {{choice: [{}]}}", ("many", "1.0"), "got 'many'"),
    "an option that is out of range": (
        "block: metanext, "
        "mixer: {{choice: [identity, {{pooling: {{pool_size: {{choice: [{}]}}}}}}]}}",
        ("3", "4"),
        "got 4",
    ),
    "no block has it": (
        "block: metanext, residual_scale: {{choice: [{}]}}",
        ("1.0", "null"),
        "belongs",
    ),
    "only under another choice": (
        "block: {{choice: [metanext, metaformer]}}, mlp: {{choice: [{}]}}",
        ("{ratio: {choice: [2, 99]}}", "{kind: linear}"),
        "got 99",
    ),
}


@pytest.mark.parametrize("kind", ILLEGAL)
def test_a_value_that_is_illegal_beside_all_others_is_refused_in_every_order(
    kind: str, registry: MixerRegistry
) -> None:
    stage, values, words = ILLEGAL[kind]
    stage += "" if "block" in stage else ", block: metanext"
    stage += "" if "mixer" in stage else ", mixer: pooling"
    for order in permutations(values):
        with pytest.raises(SpecError, match=re.escape(words)) as caught:
            space(stage.format(", ".join(order)), registry)
        assert all(words in problem.message for problem in caught.value.problems)


def test_widths_that_must_be_equal_are_legal(registry: MixerRegistry) -> None:
    stage = "block: metanext, mixer: pooling, width: {choice: [8, 16, 24]}"
    text = "name: x\nstem: {kernel_size: 2, stride: 2}\nstages:\n"
    text += "".join(f"  - {{depth: 1, norm: none, {stage}}}\n" for _ in range(4))
    opened = SearchSpace(resolve_extends(parse_yaml(text, source="x.yaml")), registry)
    assert len(opened.parameters) == 4
