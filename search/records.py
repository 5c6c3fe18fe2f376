"""What is known of one trial or baseline, as a line of the run folder's files holds it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

STUDY_DIED = "the study's process died"  # how the reason of a candidate given up for it begins
DIVERGED = "diverged: "  # how the reason of a training that left the finite numbers begins
NOT_BUILDABLE = 10.0  # constraint of a candidate that has no throughput: far outside


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETE = "COMPLETE"  # within all budgets, trained and scored; a baseline, trained and scored
    REJECTED = "REJECTED"  # outside a budget, or not buildable; not trained
    PRUNED = "PRUNED"  # trained for some of the epochs; may be promoted to more
    FAILED = "FAILED"  # an error of the candidate's own: diverged, a mixer's code
    OOM = "OOM"  # does not fit the memory
    LOST = "LOST"  # the process died; tried again
    TIMEOUT = "TIMEOUT"
    INTERRUPTED = "INTERRUPTED"  # by the user or by others at work on the device; tried again

    @property
    def is_final(self) -> bool:
        """Whether the trial counts towards the study's total; others are tried again."""
        return self not in (TrialState.LOST, TrialState.INTERRUPTED)


@dataclass(kw_only=True)
class Record(ABC):
    """What became of one network. `spec` is the backbone as a YAML file holds it; `constraints` are
    Optuna's, at most 0 where the network is within the budget; times are in seconds. `at_most` has
    images/s by mode that no kernel exceeds, of what was rejected by that without a measurement.
    `epochs` are those after which the training was to pause, None where it was to go on to the
    last; `continues` is the trial whose candidate this one trained further, `confirms` the trial
    that this one measured again. `inherited` says whose weights the training began with: `trial`,
    `digest`, and the `share` of its own that they are."""

    state: TrialState
    reason: str = ""
    epochs: int | None = None
    continues: int | None = None
    confirms: int | None = None
    inherited: dict[str, Any] | None = None
    spec: dict[str, Any] | None = None
    digest: str | None = None
    params: int | None = None
    macs: int | None = None
    measurements: list[dict[str, Any]] = field(default_factory=list)
    at_most: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int | None = None
    constraints: dict[str, float] = field(default_factory=dict)
    score: dict[str, Any] | None = None
    mixers: list[dict[str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        return cls(**{**data, "state": TrialState(data["state"])})

    @property
    @abstractmethod
    def title(self) -> str:
        """What it is a record of, in words."""

    @property
    def accuracy(self) -> float | None:
        """The validation accuracy, 0..1, of what was trained and scored."""
        return None if self.score is None else float(self.score["value"])

    def measurement(self, mode: str) -> dict[str, Any] | None:
        """The last measurement of that mode."""
        return next((m for m in reversed(self.measurements) if m["mode"] == mode), None)

    @property
    def was_judged(self) -> bool:
        """Whether a budget was put to the candidate, by counting or measuring."""
        return any(name != "buildable" for name in self.constraints)

    def violation(self) -> float:
        """By how much the budgets are missed, in logarithms; 0 within all of them."""
        return sum(max(0.0, value) for value in self.constraints.values())


@dataclass(kw_only=True)
class TrialRecord(Record):
    """One trial; its number is Optuna's."""

    number: int

    def to_data(self) -> dict[str, Any]:
        return {"number": self.number, **super().to_data()}

    @property
    def counts(self) -> bool:
        """Whether it counts towards the study's total: each candidate does, once."""
        return self.state.is_final and self.continues is None and self.confirms is None

    @property
    def title(self) -> str:
        again = "" if self.confirms is None else f", trial {self.confirms} measured again"
        return f"trial {self.number}{again}"


@dataclass(kw_only=True)
class BaselineRecord(Record):
    """One baseline, by the name that asked for it. It is trained within the budget or not:
    `reason` says what it misses, `constraints` by how much. `test_accuracy` is 0..1."""

    name: str
    test_accuracy: float | None = None

    def to_data(self) -> dict[str, Any]:
        return {"name": self.name, **super().to_data()}

    @property
    def title(self) -> str:
        return f"baseline {self.name}"

    @property
    def within_budget(self) -> bool | None:
        """None where it did not come to be judged by all of the budgets."""
        if self.state is not TrialState.COMPLETE:
            return None
        return all(value <= 0 for value in self.constraints.values())


def total_seconds(records: Iterable[Record]) -> dict[str, float]:
    """What the records' parts took together, by part."""
    totals: Counter[str] = Counter()
    for record in records:
        totals.update(record.seconds)
    return {name: round(seconds, 3) for name, seconds in totals.items()}


def standing(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The complete trials that were not refuted when they were measured again: there they missed
    their budget, or did not come to an end."""
    refuted = {
        record.confirms
        for record in records
        if record.state.is_final and record.state is not TrialState.COMPLETE
    }
    return [
        record
        for record in records
        if record.state is TrialState.COMPLETE
        and record.confirms is None
        and record.number not in refuted
    ]
