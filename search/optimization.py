"""The search over any space: a table can drive it as well as a GPU."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from search.history import NUM_FINALISTS, Candidate, History, Outcome
from search.proposals.limits import Limit
from search.proposals.parameters import Space, SpaceLike
from search.proposals.planner import Planner
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
    finalists are measured twice: one that then misses is no longer feasible.

    Without constraints nothing is measured. A score of NaN says that an evaluation diverged.
    ValueError where a cap is negative or there is nothing that measures.
    """
    if num_evaluations < 0 or max_measurements < 0:
        raise ValueError("num_evaluations and max_measurements: allowed: 0 or more")
    limits = constraints or {}
    if limits and measure is None:
        raise ValueError(f"constraints on {', '.join(limits)}: measure is missing")
    models = {name: QuantityModel(limit) for name, limit in limits.items()}
    planner = Planner(Space(space), models, random.Random(seed))
    run = _Run(evaluate, measure, limits)
    kept = min(NUM_FINALISTS, max_measurements // 2)  # for the finalists
    run.search(planner, num_evaluations, max_measurements - kept)
    run.confirm(max_measurements)
    errors = {name: model.error for name, model in planner.quantities.items()}
    run.history.prediction_errors = {k: e for k, e in errors.items() if e is not None}
    return run.history


@dataclass
class _Run:
    evaluate: Evaluate
    measure: Measure | None
    limits: Mapping[str, Limit]
    history: History = field(default_factory=History)

    def search(self, planner: Planner, num_evaluations: int, max_measurements: int) -> None:
        """Until a cap is reached or nothing new is left."""
        history = self.history
        before = 0  # measurements at the last evaluation
        while (left := num_evaluations - len(history.evaluated)) > 0:
            share = (max_measurements - before) / left
            waiting = any(c.feasible and c.score is None for c in history.candidates)
            spent = history.num_measurements >= (before + share if waiting else max_measurements)
            allowance = 0.0 if self.limits and spent else max(share, 1.0)
            candidate = planner.propose(allowance=allowance)
            if candidate is None:
                history.outcome = (
                    Outcome.SPACE_EXHAUSTED if allowance > 0 else Outcome.MEASUREMENTS_SPENT
                )
                return
            if candidate.feasible is None:
                history.candidates.append(candidate)
                self._look(candidate)
            else:
                candidate.score = float(self.evaluate(dict(candidate.params)))
                history.evaluated.append(candidate)
                before = history.num_measurements

    def confirm(self, max_measurements: int) -> None:
        """Measures the best again, so that none wins by luck, as far as measurements reach."""
        for candidate in self.history.ranking[:NUM_FINALISTS] if self.limits else []:
            if self.history.num_measurements < max_measurements:
                self._look(candidate)
                candidate.confirmed = candidate.feasible is True

    def _look(self, candidate: Candidate) -> None:
        """Measures what is limited; says whether all limits are kept."""
        if self.limits:
            assert self.measure is not None, "refused by optimize"
            found = self.measure(dict(candidate.params))
            self.history.num_measurements += 1
            missing = sorted(set(self.limits) - set(found))
            if missing:
                raise ValueError(f"measure: gave {sorted(found)}; missing: {', '.join(missing)}")
            candidate.quantities = {name: float(value) for name, value in found.items()}
        candidate.feasible = all(
            limit.excess(candidate.quantities[name]) <= 0 for name, limit in self.limits.items()
        )
