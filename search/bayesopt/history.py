"""History of a search: its candidates, their quantities and scores, and the best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

NUM_FINALISTS = 3  # measured again at the end


class Outcome(StrEnum):
    """Why a search ended."""

    DONE = "done"
    MEASUREMENTS_SPENT = "measurements spent"
    SPACE_EXHAUSTED = "space exhausted"


@dataclass
class Candidate:
    """One point of the space, in the order of proposal.

    `quantities` are those measured, the last figures; `feasible` is None until measured; `score`
    is None until evaluated and NaN if that diverged; `confirmed` says that it was measured
    again at the end.
    """

    number: int
    params: dict[str, Any]
    quantities: dict[str, float] = field(default_factory=dict)
    feasible: bool | None = None
    score: float | None = None
    confirmed: bool = False


@dataclass
class History:
    """`candidates` in the order of proposal, `evaluated` in the order of evaluation."""

    candidates: list[Candidate] = field(default_factory=list)
    evaluated: list[Candidate] = field(default_factory=list)
    num_measurements: int = 0
    outcome: Outcome = Outcome.DONE
    prediction_errors: Mapping[str, float] = field(default_factory=dict)

    @property
    def ranking(self) -> list[Candidate]:
        """Those feasible and evaluated, the best first, the earlier first if they tie."""
        scored = [c for c in self.evaluated if c.feasible is not False and c.score == c.score]
        return sorted(scored, key=lambda c: -(c.score or 0.0))

    @property
    def best(self) -> Candidate | None:
        """The best feasible candidate; None if none was found."""
        ranking = self.ranking
        return ranking[0] if ranking else None
