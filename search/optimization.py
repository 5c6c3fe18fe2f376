"""The search over any space: a table can drive it as well as a GPU."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, TypeAlias

from optuna import TrialPruned

from search.history import NUM_FINALISTS, Candidate, History, Outcome
from search.proposals.limits import AtLeast, AtMost, Limit
from search.proposals.parameters import Space, SpaceLike
from search.proposals.proposer import Proposer
from search.proposals.quantity import QuantityModel

Evaluate: TypeAlias = Callable[[dict[str, Any]], float]
Measure: TypeAlias = Callable[[dict[str, Any]], Mapping[str, float]]


def optimize(
    space: SpaceLike,
    evaluate: Evaluate,
    *,
    measure: Measure | None = None,
    constraints: Mapping[str, Limit] | None = None,
    num_evaluations: int,
    max_measurements: int = 0,
    seed: int = 0,
) -> History:
    """Looks for a high `evaluate(params)` among candidates whose quantities keep every limit.

    `space` maps names to choices, ranges or Optuna's distributions, or is a callable that asks
    an Optuna trial for values and raises TrialPruned where what they cost nothing to tell rules
    them out. `measure` gives the quantities that `constraints` limit by name; NaN misses every
    limit. A candidate that misses one is not evaluated; none is evaluated twice, and only
    finalists are measured twice: one that then misses is no longer feasible. The more measurements
    there are for an evaluation, the more are spent on where to evaluate next.

    Without constraints nothing is measured. A score of NaN says that an evaluation diverged, and so
    does TrialPruned from `evaluate`; from `measure` it says that a candidate misses every limit.
    ValueError where an argument or an answer is not what it must be. Whatever else `evaluate` or
    `measure` raises comes as EvaluationFailed, which holds the history so far.
    """
    limits = _checked(measure, constraints, num_evaluations, max_measurements)
    models = {name: QuantityModel(limit) for name, limit in limits.items()}
    proposer = Proposer(Space(space), models, random.Random(int(seed)))
    run = _Run(evaluate, measure, limits)
    kept = min(NUM_FINALISTS, max_measurements // 2)  # for the finalists
    run.search(proposer, num_evaluations, max_measurements - kept)
    run.confirm(max_measurements)
    errors = {name: model.error for name, model in proposer.quantities.items()}
    run.history.prediction_errors = {k: e for k, e in errors.items() if e is not None}
    return run.history


class EvaluationFailed(RuntimeError):
    """`evaluate` or `measure` raised, with `params`; `history` is what was known before that."""

    def __init__(self, name: str, params: dict[str, Any], history: History) -> None:
        super().__init__(f"{name}({params}) raised; {len(history.evaluated)} candidates are scored")
        self.params = params
        self.history = history


def _checked(
    measure: Measure | None,
    constraints: Mapping[str, Limit] | None,
    num_evaluations: int,
    max_measurements: int,
) -> Mapping[str, Limit]:
    """The limits; ValueError where they cannot be searched under."""
    for name, number in {
        "num_evaluations": num_evaluations,
        "max_measurements": max_measurements,
    }.items():
        if not isinstance(number, Integral) or isinstance(number, bool) or number < 0:
            raise ValueError(f"{name}: got {number!r}; allowed: an integer of 0 or more")
    limits = {} if constraints is None else constraints
    if not isinstance(limits, Mapping):
        words = "allowed: limits by the name of a quantity"
        raise ValueError(f"constraints: got {constraints!r}; {words}")
    for name, limit in limits.items():
        if not isinstance(limit, AtMost | AtLeast):
            words = f"allowed: AtMost({limit!r}) or AtLeast({limit!r})"
            raise ValueError(f"constraints[{name!r}]: got {limit!r}; {words}")
    if limits and measure is None:
        raise ValueError(f"constraints on {', '.join(limits)}: measure is missing")
    if limits and num_evaluations and not max_measurements:
        words = "allowed: 1 or more where there are constraints; about ten an evaluation is usual"
        raise ValueError(f"max_measurements: got 0; {words}")
    return limits


@dataclass
class _Run:
    evaluate: Evaluate
    measure: Measure | None
    limits: Mapping[str, Limit]
    history: History = field(default_factory=History)

    def search(self, proposer: Proposer, num_evaluations: int, max_measurements: int) -> None:
        """Until a cap is reached or nothing new is left."""
        history = self.history
        before = 0  # measurements at the last evaluation
        while (left := num_evaluations - len(history.evaluated)) > 0:
            share = (max_measurements - before) / left
            waiting = any(c.feasible and c.score is None for c in history.candidates)
            spent = history.num_measurements >= (before + share if waiting else max_measurements)
            allowance = 0.0 if self.limits and spent else max(share, 1.0)
            candidate = proposer.propose(allowance=allowance)
            if candidate is None:
                history.outcome = (
                    Outcome.SPACE_EXHAUSTED if allowance > 0 else Outcome.MEASUREMENTS_SPENT
                )
                return
            if candidate.feasible is None:
                history.candidates.append(candidate)
                self._look(candidate)
            else:
                candidate.score = self._score(candidate)
                history.evaluated.append(candidate)
                before = history.num_measurements

    def confirm(self, max_measurements: int) -> None:
        """Measures the best again, so that none wins by luck, as far as measurements reach."""
        for candidate in self.history.ranking[:NUM_FINALISTS] if self.limits else []:
            if self.history.num_measurements < max_measurements:
                self._look(candidate)
                candidate.confirmed = candidate.feasible is True

    def _score(self, candidate: Candidate) -> float:
        try:
            score = self.evaluate(deepcopy(candidate.params))
        except TrialPruned:
            return math.nan
        except Exception as error:
            raise EvaluationFailed("evaluate", candidate.params, self.history) from error
        if not isinstance(score, Real) or math.isinf(score):
            words = "allowed: a finite number, or NaN where it diverged"
            raise ValueError(f"evaluate({candidate.params}): got {score!r}; {words}")
        return float(score)

    def _look(self, candidate: Candidate) -> None:
        """Measures what is limited; says whether all limits are kept."""
        if self.limits:
            self.history.num_measurements += 1
            candidate.quantities = self._measured(candidate.params)
        candidate.feasible = all(
            limit.excess(candidate.quantities[name]) <= 0 for name, limit in self.limits.items()
        )

    def _measured(self, params: dict[str, Any]) -> dict[str, float]:
        assert self.measure is not None, "refused by optimize"
        try:
            found = self.measure(deepcopy(params))
        except TrialPruned:
            return dict.fromkeys(self.limits, math.nan)
        except Exception as error:
            raise EvaluationFailed("measure", params, self.history) from error
        if not isinstance(found, Mapping):
            raise ValueError(f"measure({params}): got {found!r}; allowed: quantities by name")
        for name in self.limits:
            if name not in found:
                near = get_close_matches(name, map(str, found), n=1)
                meant = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"measure({params}): got {sorted(found)}; missing: {name}{meant}")
            if not isinstance(found[name], Real):
                raise ValueError(f"measure({params})[{name!r}]: got {found[name]!r}; a number")
        return {name: float(value) for name, value in found.items() if isinstance(value, Real)}
