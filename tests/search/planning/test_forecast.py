"""Predictions for what was not measured, of candidates of the CPU's default space."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from functools import cache
from statistics import fmean

import numpy as np
import pytest

from metaformer.spec import BackboneSpec
from mixers import load_registry
from search.bayesopt.latency_model import MIN_MEASURED
from search.config.load import load_study
from search.config.study import Budget
from search.planning.forecast import NO_FORECAST, Forecast, Prediction, forecast
from search.planning.proportions import ENOUGH_JUDGED, share_of
from search.planning.sampling import Drawn
from search.space.buildability import draw
from search.space.search_space import SearchSpace
from search.storage.records import TrialRecord, TrialState

MIXER_SECONDS = {"attention": 9e-6, "inception_dw": 4e-6, "pooling": 2e-6}


@cache
def backbones() -> tuple[tuple[dict[str, object], BackboneSpec], ...]:
    study = load_study(None, {"budget": {"train": 1.0}}, device="cpu")
    fields = {"name": "drawn", "num_classes": 10, "image_size": 32}
    space = SearchSpace(study.space, load_registry(), fields=fields)
    generator, found = random.Random(0), []
    for _ in range(300):
        parameters = {}

        def choose(name, domain, parameters=parameters):  # type: ignore[no-untyped-def]
            parameters[name] = draw(domain, generator)
            return parameters[name]

        found.append((parameters, space.backbone(choose)))
    return tuple(found)


def seconds_of(spec: BackboneSpec) -> float:
    """Of an image: blocks add up, each by its mixer and the square of its width."""
    total = 1e-5
    for number, stage in enumerate(spec.stages):
        for mixer in stage.block_mixers:
            block = MIXER_SECONDS.get(mixer.name, 3e-6) * stage.width + 1e-7 * stage.width**2
            total += block / 4**number
    return total


def limit_of(share: float) -> float:
    return float(np.quantile([seconds_of(spec) for _, spec in backbones()], share))


def drawn_candidates(seed: int, limit: float, measured: int) -> tuple[list[Drawn], list[Drawn]]:
    """A hundred, and the first so many of them, measured within 2 %."""
    generator = random.Random(seed)
    drawn = [
        Drawn(dict(parameters), spec, TrialRecord(number=number, state=TrialState.COMPLETE))
        for number, (parameters, spec) in enumerate(generator.choices(backbones(), k=100))
    ]
    for one in drawn[:measured]:
        assert one.spec is not None
        seconds = seconds_of(one.spec) * math.exp(generator.gauss(0, 0.02))
        one.record.measurements.append({"mode": "train", "images_per_second": 1 / seconds})
        one.record.state = TrialState.COMPLETE if seconds <= limit else TrialState.REJECTED
        one.measured = True
    return drawn, drawn[:measured]


def truth(one: Drawn, limit: float) -> bool:
    assert one.spec is not None
    return seconds_of(one.spec) <= limit


@pytest.mark.parametrize("feasible", [0.1, 0.5])
def test_the_share_holds_the_truth_and_says_more_than_the_measurements(feasible: float) -> None:
    limit = limit_of(feasible)
    by_prediction, by_measurement, held = [], [], 0
    for seed in range(20):
        drawn, measured = drawn_candidates(seed, limit, 24)
        share = forecast(drawn, measured, Budget(train=1 / limit)).share(drawn)
        assert share is not None
        held += share.low <= feasible <= share.high
        alone = share_of(sum(one.made_the_budget is True for one in measured), len(measured))
        by_prediction.append((abs(share.value - feasible), share.high - share.low))
        by_measurement.append((abs(alone.value - feasible), alone.high - alone.low))
    assert held >= 18  # of 20, at 95 %
    errors, widths = (fmean(column) for column in zip(*by_prediction, strict=True))
    errors_alone, widths_alone = (fmean(column) for column in zip(*by_measurement, strict=True))
    assert errors < 0.8 * errors_alone
    assert widths < 0.85 * widths_alone


def test_what_is_surely_predicted_is_so() -> None:
    limit = limit_of(0.3)
    right = []
    for seed in range(10):
        drawn, measured = drawn_candidates(seed, limit, 24)
        found = forecast(drawn, measured, Budget(train=1 / limit))
        sure = [(one, found.makes_the_budget(one)) for one in drawn[24:]]
        right += [said is truth(one, limit) for one, said in sure if said is not None]
    assert len(right) > 300
    assert right.count(False) <= 0.02 * len(right)


def test_what_was_measured_or_counted_is_not_predicted() -> None:
    limit = limit_of(0.3)
    drawn, measured = drawn_candidates(0, limit, 24)
    drawn[30].record.state = TrialState.REJECTED  # by counts
    found = forecast(drawn, measured, Budget(train=1 / limit))
    assert not found.predictions.keys() & {*measured, drawn[30]}
    assert found.makes_the_budget(drawn[30]) is False
    assert found.makes_the_budget(drawn[0]) is drawn[0].made_the_budget


def predicted(measured: int, budget: Budget) -> Forecast:
    drawn, some = drawn_candidates(0, 1 / (budget.train or 1), measured)
    return forecast(drawn, some, budget)


def test_a_value_is_dead_only_where_all_that_were_drawn_with_it_miss() -> None:
    slow = [
        Drawn({"width": 8}, None, TrialRecord(number=n, state=TrialState.REJECTED), measured=True)
        for n in range(ENOUGH_JUDGED)
    ]
    not_measured = Drawn({"width": 8}, None, TrialRecord(number=99, state=TrialState.COMPLETE))
    assert [(dead.value, dead.judged) for dead in NO_FORECAST.dead(slow)] == [(8, ENOUGH_JUDGED)]
    assert NO_FORECAST.dead([*slow, not_measured]) == []
    misses = replace(NO_FORECAST, predictions={not_measured: Prediction(0.001, False)})
    assert [dead.judged for dead in misses.dead([*slow, not_measured])] == [ENOUGH_JUDGED + 1]


def test_too_few_measurements_predict_nothing() -> None:
    speed = 1 / limit_of(0.3)
    drawn, _ = drawn_candidates(0, 1 / speed, 0)
    for found in (predicted(MIN_MEASURED - 1, Budget(train=speed)), predicted(24, Budget())):
        assert found.share(drawn) is None
        assert found.makes_the_budget(drawn[99]) is None
    assert predicted(MIN_MEASURED, Budget(train=speed)).share(drawn) is not None


def test_what_can_only_be_measured_is_left_open() -> None:
    speed = 1 / limit_of(0.3)
    drawn, some = drawn_candidates(0, 1 / speed, 24)
    found = forecast(drawn, some, Budget(train=speed, memory=1.0))
    assert found.share(drawn) is None
    assert {found.makes_the_budget(one) for one in drawn[24:]} == {False, None}


def test_worse_predictions_widen_the_interval() -> None:
    limit = limit_of(0.5)
    drawn, some = drawn_candidates(0, limit, 24)
    found = forecast(drawn, some, Budget(train=1 / limit))
    share, worse = found.share(drawn), replace(found, variance=0.25).share(drawn)
    assert share is not None
    assert worse is not None
    assert worse.high - worse.low > 1.5 * (share.high - share.low)


def test_each_mode_has_to_be_made() -> None:
    speed = 1 / limit_of(0.5)
    drawn, some = drawn_candidates(0, 1 / speed, 24)
    for one in some:  # as fast in inference as in training
        one.record.measurements.append({**one.record.measurements[0], "mode": "infer"})
    alone = forecast(drawn, some, Budget(train=speed))
    both = forecast(drawn, some, Budget(train=speed, infer=speed))
    assert both.errors.keys() == {"train", "infer"}
    for one, prediction in alone.predictions.items():
        assert both.predictions[one].chance == pytest.approx(prediction.chance**2)
