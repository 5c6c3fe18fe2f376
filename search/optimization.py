"""The search over any space: what a table can drive as well as a GPU."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias


from search.history import Candidate, History, Outcome
from search.proposals.limits import Limit
from search.proposals.parameters import Params, Space, SpaceLike
from search.proposals.planner import Planner

Measure: TypeAlias = Callable[[dict[str, Any]], Mapping[str, float]]

NUM_FINALISTS = 3  # measured again at the end


def optimize(
    space: SpaceLike,
    evaluate: Callable[[dict[str, Any]], float],
    *,
    measure: Measure | None = None,
    constraints: Mapping[str, Limit] | None = None,
    num_evaluations: int,
    max_measurements: int,
    seed: int = 0,
) -> History:
    """Candidates of a high `evaluate` whose measured quantities keep their limits."""
    history = History()
    planner = Planner(Space(space), constraints or {}, random.Random(seed))
    limits = constraints or {}
    this_round = 0
    while len(history.evaluated) < num_evaluations:
        left = max_measurements - history.num_measurements
        pace = left / (num_evaluations - len(history.evaluated))
        stock = any(c.feasible and c.score is None for c in history.candidates)
        may = left > 0 and (not stock or this_round < pace)
        c = planner.propose(allowance=pace if may else 0)
        if c is None:
            history.outcome = Outcome.SPACE_EXHAUSTED if may else Outcome.MEASUREMENTS_SPENT
            break
        if c.feasible is None:
            history.candidates.append(c)
            c.quantities.update(measure(c.params))
            history.num_measurements += 1
            this_round += 1
            c.feasible = all(l.excess(c.quantities[n]) <= 0 for n, l in limits.items())
            continue
        c.score = float(evaluate(c.params))
        history.evaluated.append(c)
        this_round = 0
    return history
