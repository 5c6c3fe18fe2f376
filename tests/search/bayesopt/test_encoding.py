"""Candidates as rows of numbers."""

from __future__ import annotations

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from search.bayesopt.encoding import Features


def test_choices_of_one_kind_are_a_family_and_what_is_continuous_is_none() -> None:
    stages = Features({f"stage{n}": CategoricalDistribution(["conv", "pool"]) for n in range(3)})
    assert (stages.num_parameters, stages.num_groups) == (3, 4)
    first, second = stages.rows(
        [
            {"stage0": "conv", "stage1": "pool", "stage2": "pool"},
            {"stage0": "pool", "stage1": "pool", "stage2": "conv"},
        ]
    )
    of_family = stages.groups == 3
    assert (first[of_family] == second[of_family]).all()  # as many of each, wherever they stand
    assert (first != second).any()
    depths = Features({f"depth{n}": IntDistribution(1, 9) for n in range(3)})
    assert depths.num_groups == 4
    point = Features({f"x{n}": FloatDistribution(0, 1) for n in range(3)})
    assert point.num_groups == 3
