"""What models predict, and how scores become values of one scale."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from search.bayesopt._score_model import half_rank_warp, log_expected_improvement
from search.bayesopt.constraint_model import QuantityModel
from search.bayesopt.define_by_run import Space
from search.bayesopt.encoding import EncodedCandidates, Features
from search.bayesopt.gaussian_process import GaussianProcess, Posterior, default_hyperparameters
from search.bayesopt.limits import AtLeast, AtMost


def test_the_gradient_is_that_of_the_density() -> None:
    generator = np.random.default_rng(0)
    rows = generator.random((12, 3))
    posterior = Posterior(rows, generator.standard_normal(12), np.array([0, 1, 1]))
    point = np.array([0.3, -0.5, -2.0])
    _, gradient = posterior._negative_with_gradient(point)
    for index in range(3):
        step = np.zeros(3)
        step[index] = 1e-5
        slope = (posterior._negative(point + step) - posterior._negative(point - step)) / 2e-5
        assert gradient[index] == pytest.approx(slope, rel=1e-4, abs=1e-6)


def test_the_predictions_from_all_others_are_those_of_a_process_without_the_value() -> None:
    generator = np.random.default_rng(1)
    rows, groups = generator.random((10, 2)), np.array([0, 1])
    values = generator.standard_normal(10)
    found = default_hyperparameters(2)
    mean, _ = GaussianProcess(rows, values, groups, found).left_out()
    without = GaussianProcess(rows[1:], values[1:], groups, found)
    assert mean[0] == pytest.approx(without.predict(rows[:1])[0][0])


def test_a_broken_score_lies_no_further_off_than_the_worst_of_the_others_might() -> None:
    values = half_rank_warp(np.array([10.0, 70.0, 71.0, 72.0, 73.0]))
    assert list(np.argsort(values)) == [0, 1, 2, 3, 4]
    assert values[0] > -3


def test_expected_improvement_has_a_logarithm_where_it_is_too_small_to_be_held() -> None:
    means = np.array([-50.0, -31.0, -29.0, -1.0, 1.0])
    found = log_expected_improvement(means, np.ones(5), 0.0)
    assert np.all(np.isfinite(found))
    assert np.all(np.diff(found) > 0)
    assert math.exp(found[-1]) == pytest.approx(1.0833, abs=1e-3)


def test_a_quantity_is_predicted_where_it_was_not_measured() -> None:
    space = Space({f"x{index}": [0, 1, 2, 3] for index in range(5)})
    generator = random.Random(0)
    drawn = [space.draw(generator) for _ in range(80)]
    params = [item for item in drawn if item is not None]
    features = Features(space.distributions)
    rows = features.rows(params)
    seconds = np.array([1.0 + sum(item.values()) for item in params])
    for limit, sign in ((AtMost(8.5), 1), (AtLeast(8.5), -1)):
        model = QuantityModel(limit)
        model.condition(EncodedCandidates(params[:50], features, rows[:50]), seconds[:50])
        chances = np.exp(model.log_chance(EncodedCandidates(params[50:], features, rows[50:])))
        clear = np.abs(seconds[50:] - 8.5) > 2
        keeps = sign * (seconds[50:] - 8.5) < 0
        assert np.all((chances > 0.5)[clear] == keeps[clear])


def test_parameters_that_share_their_choices_have_their_sum_as_well() -> None:
    space = Space({"a": ["x", "y"], "b": ["x", "y"], "c": [1, 2, 3]})
    features = Features(space.distributions)
    left, right, other = features.rows(
        [{"a": "x", "b": "y", "c": 1}, {"a": "y", "b": "x", "c": 1}, {"a": "x", "b": "x", "c": 1}]
    )
    family = features.groups == 3
    assert np.allclose(left[family], right[family])
    assert not np.allclose(left[family], other[family])
