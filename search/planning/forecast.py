"""Forecast of the speed of all drawn candidates from the measurements of some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaformer.spec import BackboneSpec
from search.bayesopt.latency_model import MIN_MEASURED, SURE, StageTimes
from search.bayesopt.limits import AtMost
from search.config.study import Budget
from search.planning.proportions import Dead, Share, dead_values, share_of_chances
from search.planning.sampling import Drawn
from search.scheduling.latency_features import describe


@dataclass(frozen=True)
class _Backbones:
    """Candidates as the model of times reads them."""

    specs: Sequence[BackboneSpec]

    @property
    def params(self) -> Sequence[Mapping[str, Any]]:
        return [{"spec": spec} for spec in self.specs]


@dataclass(frozen=True)
class Prediction:
    """The chance that a candidate meets the budget, and whether it surely does or does not (1 % of
    error); None if that is open."""

    chance: float
    makes_the_budget: bool | None


@dataclass(frozen=True)
class Forecast:
    """Predictions for the candidates that neither counts nor a measurement has judged.

    `errors` are by mode the relative error with which each of the `measured` candidates is
    predicted from the others; `variance` is that of a prediction of whether one meets the budget.
    """

    predictions: Mapping[Drawn, Prediction]
    errors: Mapping[str, float]
    variance: float
    measured: int
    covers_budget: bool  # whether nothing but throughput is budgeted that has to be measured

    def makes_the_budget(self, one: Drawn) -> bool | None:
        """As it was measured or counted, else as it is surely predicted."""
        if one in self.predictions:
            return self.predictions[one].makes_the_budget
        return one.made_the_budget

    def share(self, drawn: Sequence[Drawn]) -> Share | None:
        """Of `drawn`, what meets the budget; None if that is not predicted."""
        if not self.errors or not self.covers_budget:
            return None
        chances = [
            self.predictions[one].chance
            if one in self.predictions
            else float(one.made_the_budget is True)
            for one in drawn
        ]
        predicted = sum(one in self.predictions for one in drawn) / len(drawn)
        error = predicted**2 * self.variance / self.measured
        return share_of_chances(chances, error, measured=self.measured)

    def dead(self, drawn: Sequence[Drawn]) -> list[Dead]:
        """Values under which every one of `drawn` that can be built misses, as far as is known."""
        buildable = [one for one in drawn if one.is_buildable]
        return dead_values((one.parameters, self.makes_the_budget(one)) for one in buildable)


NO_FORECAST = Forecast({}, {}, 0.0, 0, covers_budget=False)


def forecast(drawn: Sequence[Drawn], measured: Sequence[Drawn], budget: Budget) -> Forecast:
    """Predicts throughput by `measured`; nothing if too few were, or no mode is budgeted."""
    models = {mode: _learned(measured, mode, limit) for mode, limit in budget.throughput.items()}
    if not models or any(model.num_measured < MIN_MEASURED for model in models.values()):
        return NO_FORECAST
    unjudged = {
        one: one.spec
        for one in drawn
        if one.made_the_budget is None and one.is_buildable and one.spec is not None
    }
    backbones = _Backbones(list(unjudged.values()))
    covers_budget = budget.memory is None and budget.latency is None
    chances = np.ones(len(unjudged))
    makes, misses = np.full(len(unjudged), covers_budget), np.zeros(len(unjudged), np.bool_)
    for model in models.values():
        careful = model.log_chance(backbones)
        chances *= model.typical_chance(backbones)
        makes &= careful > np.log(1 - SURE)
        misses |= model.rules_out(careful)
    known = [
        True if made else False if missed else None
        for made, missed in zip(makes, misses, strict=True)
    ]
    predictions = map(Prediction, chances.tolist(), known)
    return Forecast(
        dict(zip(unjudged, predictions, strict=True)),
        {mode: model.error or 0.0 for mode, model in models.items()},
        sum(model.variance() for model in models.values()),
        min(model.num_measured for model in models.values()),
        covers_budget,
    )


def _learned(measured: Sequence[Drawn], mode: str, limit: float) -> StageTimes:
    model = StageTimes(AtMost(1 / limit), lambda params: describe(params["spec"]))
    timed = [(one.spec, found) for one in measured if (found := one.record.measurement(mode))]
    known = [(spec, found["images_per_second"]) for spec, found in timed if spec is not None]
    known = [(spec, speed) for spec, speed in known if speed is not None]
    model.condition(
        _Backbones([spec for spec, _ in known]), np.array([1 / speed for _, speed in known])
    )
    return model
