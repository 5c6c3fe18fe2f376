"""Seconds per image as a sum over stages, from few networks that were measured."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution

from search.bayesopt.encoding import EncodedCandidates, Features
from search.bayesopt.latency_model import MIN_MEASURED, Description, StageTimes
from search.bayesopt.limits import AtMost

CHOICES: dict[str, list[Any]] = {
    "depth": [1, 2, 3],
    "width": [32, 48, 64, 96],
    "mlp.ratio": [1, 2, 3, 4],
    "mixer": ["attention", "inception_dw", "pooling"],
}
SPACE = {f"stages.{stage}.{name}": c for stage in range(3) for name, c in CHOICES.items()}
MIXER_SECONDS = {"attention": 3e-4, "inception_dw": 2e-4, "pooling": 0.4e-4}
FEATURES = Features({name: CategoricalDistribution(c) for name, c in SPACE.items()})


def draw(generator: random.Random) -> dict[str, Any]:
    return {name: generator.choice(choices) for name, choices in SPACE.items()}


def seconds_of(params: dict[str, Any]) -> float:
    """Each block pays for its mixer and for its MLP, which grows with the square of the width."""
    total = 2e-4
    for stage in range(3):
        depth, width, ratio, mixer = (params[f"stages.{stage}.{name}"] for name in CHOICES)
        block = MIXER_SECONDS[mixer] * width / 32 + 1e-8 * width**2 * ratio * (stage + 1)
        total += depth * block / 4**stage
    return total


def description(params: Mapping[str, Any]) -> Description:
    parts = [
        {
            "block": params[f"stages.{stage}.depth"],
            "mlp.ratio": params[f"stages.{stage}.depth"] * params[f"stages.{stage}.mlp.ratio"],
            f"mixer={params[f'stages.{stage}.mixer']}": params[f"stages.{stage}.depth"],
        }
        for stage in range(3)
    ]
    return Description(tuple(params[f"stages.{stage}.width"] for stage in range(3)), tuple(parts))


def seen(candidates: list[dict[str, Any]]) -> EncodedCandidates:
    return EncodedCandidates(candidates, FEATURES, FEATURES.rows(candidates))


def conditioned(num_measured: int, limit: float, *, noise: float = 0.01) -> StageTimes:
    generator = random.Random(1)
    measured = [draw(generator) for _ in range(num_measured)]
    values = [seconds_of(params) * math.exp(generator.gauss(0, noise)) for params in measured]
    model = StageTimes(AtMost(limit), description)
    model.condition(seen(measured), np.array(values))
    return model


OTHERS = [draw(random.Random(seed)) for seed in range(1000, 1600)]
TRUTH = np.array([seconds_of(params) for params in OTHERS])
SEEN = seen(OTHERS)
MEDIAN = float(np.median(TRUTH))


def test_few_measurements_predict_the_rest_and_the_stated_error_is_the_one_made() -> None:
    model = conditioned(100, MEDIAN)
    assert model.error is not None
    predicted, _, _ = model.interval(SEEN, alpha=0.01)
    noise = 0.01  # what is predicted is a measurement
    made = math.hypot(float(np.sqrt(np.mean((predicted / TRUTH - 1) ** 2))), noise)
    assert made < 0.02
    assert model.error == pytest.approx(made, rel=0.25)


@pytest.mark.parametrize("num_measured", [15, 30, 100])
def test_intervals_hold_what_they_promise(num_measured: int) -> None:
    _, low, high = conditioned(num_measured, MEDIAN).interval(SEEN, alpha=0.01)
    assert np.mean((low <= TRUTH) & (high >= TRUTH)) >= 0.97


@pytest.mark.parametrize("num_measured", [30, 100])
def test_what_is_ruled_out_misses_the_limit_and_much_is(num_measured: int) -> None:
    model = conditioned(num_measured, float(np.quantile(TRUTH, 0.1)))
    ruled_out = model.rules_out(model.log_chance(SEEN))
    assert np.mean(TRUTH[ruled_out] > model.limit.limit) >= 0.995
    assert np.mean(ruled_out) > 0.3


def test_nothing_is_ruled_out_before_enough_is_measured() -> None:
    model = conditioned(MIN_MEASURED - 1, float(TRUTH.min()) / 10)
    assert not model.rules_out(model.log_chance(SEEN)).any()


def test_without_measurements_every_chance_is_open() -> None:
    model = StageTimes(AtMost(MEDIAN), description)
    assert (model.log_chance(SEEN) == 0).all()
    assert model.error is None


def test_what_makes_no_network_has_no_chance_and_spoils_nothing() -> None:
    model = StageTimes(
        AtMost(MEDIAN), lambda p: None if p["stages.0.depth"] == 3 else description(p)
    )
    model.condition(seen(OTHERS[:60]), TRUTH[:60])
    chances = model.log_chance(SEEN)
    illegal = np.array([params["stages.0.depth"] == 3 for params in OTHERS])
    assert (chances[illegal] < -100).all()
    assert np.exp(chances[~illegal & (TRUTH < 0.7 * MEDIAN)]).min() > 0.5


def test_its_variance_is_that_of_whether_networks_keep_the_limit() -> None:
    limit = float(np.quantile(TRUTH, 0.3))
    few, many, noisy = (
        conditioned(20, limit),
        conditioned(100, limit),
        conditioned(20, limit, noise=0.3),
    )
    assert 0 < many.variance() < few.variance() < noisy.variance() < 0.3
    chances = few.typical_chance(seen(OTHERS))
    assert np.mean(chances) == pytest.approx(0.3, abs=0.05)
    assert few.variance() >= 0.5 * np.mean((chances - (limit >= TRUTH)) ** 2)


def test_networks_of_different_numbers_of_stages_are_predicted_together() -> None:
    def of_some(params: Mapping[str, Any]) -> Description:
        whole = description(params)
        count = params["stages.0.depth"]  # 1, 2 or 3 stages
        return Description(whole.widths[:count], whole.parts[:count])

    def truth(params: dict[str, Any]) -> float:
        found = of_some(params)
        return 2e-4 + sum(
            part["block"] * width * 1e-6 / 4**stage
            for stage, (width, part) in enumerate(zip(found.widths, found.parts, strict=True))
        )

    generator = random.Random(2)
    measured = [draw(generator) for _ in range(60)]
    model = StageTimes(AtMost(1.0), of_some)
    model.condition(seen(measured), np.array([truth(params) for params in measured]))
    predicted, _, _ = model.interval(SEEN, alpha=0.01)
    assert np.sqrt(np.mean((predicted / np.array([truth(p) for p in OTHERS]) - 1) ** 2)) < 0.05
    deeper = seen([params for params in measured if params["stages.0.depth"] == 3])
    flat = [params for params in measured if params["stages.0.depth"] == 1]
    model.condition(seen(flat), np.array([truth(params) for params in flat]))
    assert np.isfinite(model.log_chance(deeper)).all()
