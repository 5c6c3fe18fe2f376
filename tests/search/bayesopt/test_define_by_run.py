"""Spaces: what is drawn, what lies near, and what counts as the same."""

from __future__ import annotations

import random
from typing import Any

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from search.bayesopt.define_by_run import Space, key_of

MAPPING: dict[str, Any] = {
    "mixer": ["conv", "pooling"],
    "kernel": [3, 5, 7],
    "depth": range(2, 9, 2),
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "ratio": FloatDistribution(2.0, 4.0, step=0.5),
    "width": IntDistribution(8, 512, log=True),
}


def is_legal(params: dict[str, Any]) -> bool:
    return (
        params["mixer"] in ("conv", "pooling")
        and params["kernel"] in (3, 5, 7)
        and params["depth"] in (2, 4, 6, 8)
        and 1e-4 <= params["rate"] <= 1.0
        and params["ratio"] in (2.0, 2.5, 3.0, 3.5, 4.0)
        and isinstance(params["width"], int)
        and 8 <= params["width"] <= 512
    )


def test_what_is_drawn_and_what_lies_near_is_legal() -> None:
    space, generator = Space(MAPPING), random.Random(0)
    for _ in range(200):
        params = space.draw(generator)
        assert params is not None
        assert is_legal(params)
        near = space.neighbour(params, generator)
        assert near is not None
        assert is_legal(near)


def test_a_neighbour_differs_from_its_parent_in_few_parameters() -> None:
    space, generator = Space(MAPPING), random.Random(0)
    params = space.draw(generator)
    assert params is not None
    changes = []
    for _ in range(300):
        near = space.neighbour(params, generator)
        assert near is not None
        changes.append(sum(near[name] != params[name] for name in params))
    assert sum(number == 1 for number in changes) > 150
    assert max(changes) > 1


def test_the_order_of_parameters_makes_no_other_candidate() -> None:
    assert key_of({"a": 1, "b": "x"}) == key_of({"b": "x", "a": 1})
    assert key_of({"a": 1}) != key_of({"a": "1"})


@pytest.mark.parametrize("domain", ["conv", [], 3, range(0)])
def test_what_is_no_domain_is_refused_by_name(domain: Any) -> None:
    with pytest.raises(ValueError, match="space\\['kernel'\\]"):
        Space({"kernel": domain})
