"""The search over any space: a table can drive it as well as a GPU."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any, TypeAlias, TypeVar

from optuna import TrialPruned

from search.bayesopt.constraint_model import QuantityModel
from search.bayesopt.define_by_run import Space, SpaceLike
from search.bayesopt.history import NUM_FINALISTS, Candidate, History, Outcome
from search.bayesopt.limits import AtLeast, AtMost, Limit
from search.bayesopt.proposer import Proposer

MEASUREMENTS_AN_EVALUATION = 4  # by default
Evaluate: TypeAlias = Callable[[dict[str, Any]], float]
Measure: TypeAlias = Callable[[dict[str, Any]], Mapping[str, float]]
_Answer = TypeVar("_Answer")


def optimize(
    space: SpaceLike,
    evaluate: Evaluate,
    *,
    measure: Measure | None = None,
    constraints: Mapping[str, Limit] | None = None,
    num_evaluations: int,
    max_measurements: int | None = None,
    seed: int = 0,
) -> History:
    """Maximise `evaluate(params)` over the candidates whose quantities meet every limit.

    `space` maps names to choices, ranges or Optuna's distributions, or is a callable that asks
    an Optuna trial for values and raises TrialPruned if what they cost nothing to tell rules
    them out. `measure` gives the quantities that `constraints` limit by name; NaN misses every
    limit. A candidate that misses one is not evaluated; none is evaluated twice, and only
    finalists are measured twice: one that then misses is no longer feasible. The more measurements
    there are for an evaluation, the more are spent on where to evaluate next; by default there are
    four.

    Without constraints nothing is measured. A score of NaN or -inf says that an evaluation
    diverged, and so does TrialPruned from `evaluate`; from `measure` it says that a candidate
    misses every limit. ValueError if an argument is not what it must be. Whatever `evaluate` or
    `measure` raises comes as EvaluationFailed, which holds the history so far, and so does
    WrongAnswer, a ValueError too, if what they give is no number.
    """
    most = max_measurements if max_measurements is not None else 1
    limits = _checked(measure, constraints, num_evaluations, most)
    if max_measurements is None:
        most = MEASUREMENTS_AN_EVALUATION * num_evaluations
    models = {name: QuantityModel(limit) for name, limit in limits.items()}
    proposer = Proposer(Space(space), models, random.Random(int(seed)))
    run = _Run(evaluate, measure, limits)
    kept = min(NUM_FINALISTS, most // 2)  # for the finalists
    run.search(proposer, num_evaluations, most - kept)
    run.confirm(most)
    errors = {name: model.error for name, model in proposer.quantities.items()}
    run.history.prediction_errors = {k: e for k, e in errors.items() if e is not None}
    return run.history


class EvaluationFailed(Exception):
    """`evaluate` or `measure` raised, with `params`; `history` is what was known before that."""

    def __init__(
        self, name: str, params: dict[str, Any], history: History, error: Exception
    ) -> None:
        scored = f"{len(history.evaluated)} candidates are scored"
        super().__init__(f"{name}({params}): {type(error).__name__}: {error}; {scored}")
        self.params = params
        self.history = history


class WrongAnswer(EvaluationFailed, ValueError):
    """`evaluate` or `measure` gave what is no number, or not what is limited."""


def _checked(
    measure: Measure | None,
    constraints: Mapping[str, Limit] | None,
    num_evaluations: int,
    max_measurements: int,
) -> Mapping[str, Limit]:
    """The limits; ValueError if they cannot be searched under."""
    for name, number, least in (
        ("num_evaluations", num_evaluations, 1),
        ("max_measurements", max_measurements, 0),
    ):
        if not isinstance(number, Integral) or isinstance(number, bool) or number < least:
            raise ValueError(f"{name}: got {number!r}; allowed: an integer of {least} or more")
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
    if limits and not max_measurements:
        raise ValueError("max_measurements: got 0; allowed: 1 or more where there are constraints")
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
        score = self._ask("evaluate", self.evaluate, candidate.params, _score_of)
        return math.nan if score is None else score

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
        found = self._ask("measure", self.measure, params, self._quantities_of)
        return dict.fromkeys(self.limits, math.nan) if found is None else found

    def _ask(
        self,
        name: str,
        function: Callable[[dict[str, Any]], Any],
        params: dict[str, Any],
        read: Callable[[Any], _Answer],
    ) -> _Answer | None:
        """Answer of a user's function for these values; None if it raises TrialPruned."""
        try:
            answer = function(deepcopy(params))
        except TrialPruned:
            return None
        except Exception as error:  # whatever a user's own code raises
            raise EvaluationFailed(name, params, self.history, error) from error
        try:
            return read(answer)
        except ValueError as error:
            raise WrongAnswer(name, params, self.history, error) from None

    def _quantities_of(self, found: Any) -> dict[str, float]:
        if not isinstance(found, Mapping):
            raise ValueError(f"got {found!r}; allowed: quantities by name")
        for name in self.limits:
            if name not in found:
                near = get_close_matches(name, map(str, found), n=1)
                meant = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"got {sorted(found)}; missing: {name}{meant}")
        limited = {name: _number(found[name]) for name in self.limits}
        return {n: float(v) for n, v in found.items() if isinstance(v, Real)} | limited


def _score_of(answer: Any) -> float:
    score = _number(answer)
    if score == math.inf:
        raise ValueError("got inf; allowed: a number, or NaN or -inf where it diverged")
    return score if math.isfinite(score) else math.nan


def _number(value: Any) -> float:
    """Number of Python, numpy or torch as a float; ValueError if `value` is none."""
    try:
        if isinstance(value, str | bytes):  # which float() would read
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"got {value!r}; allowed: a number") from None
