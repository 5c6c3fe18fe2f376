from __future__ import annotations

import random

import numpy as np
import pytest

from search.bayesopt.scalarization import SUM_WEIGHT, random_weights, tchebycheff_scores


def test_weights_are_positive_and_sum_to_one() -> None:
    generator = random.Random(0)
    drawn = np.array([random_weights(generator, 3) for _ in range(2000)])
    assert np.allclose(drawn.sum(axis=1), 1)
    assert drawn.min() > 0
    assert drawn.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.02)


def test_a_trial_in_a_dent_of_the_front_is_the_best_for_some_weights() -> None:
    costs = np.array([[0.0, 1.0], [0.6, 0.6], [1.0, 0.0]])  # a weighted sum never takes the second
    assert tchebycheff_scores(costs, np.array([0.5, 0.5])).argmax() == 1


def test_of_two_that_are_alike_in_the_worst_axis_the_better_in_the_other_has_more() -> None:
    scores = tchebycheff_scores(
        np.array([[1.0, 0.2], [1.0, 0.1], [0.0, 1.0]]), np.array([0.9, 0.1])
    )
    assert scores[1] > scores[0]
    assert scores[0] == pytest.approx(-(0.9 + SUM_WEIGHT * (0.9 + 0.1 * 0.1 / 0.9)))


def test_units_do_not_matter_and_an_axis_without_spread_does_not_either() -> None:
    costs = np.array([[0.0, 3.0], [0.4, 2.0], [1.0, 1.0]])
    weights = np.array([0.3, 0.7])
    scaled = tchebycheff_scores(costs * [1000.0, 0.01], weights)
    assert np.allclose(tchebycheff_scores(costs, weights), scaled)
    flat = tchebycheff_scores(np.array([[5.0, 1.0], [5.0, 2.0]]), weights)
    assert np.isfinite(flat).all()
    assert flat[0] > flat[1]
