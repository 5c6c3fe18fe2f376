"""Records of trials and baselines, as lines of the files in a study's folder."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

STUDY_DIED = "the study's process died"  # how the reason of a candidate given up for it begins
DIVERGED = "diverged: "  # how the reason of a training that left the finite numbers begins
_SHOWN = 60  # characters of a wrong value in a message
_CHECKSUM = "checksum"  # key of a record's line: whether it is as it was written
NOT_BUILDABLE = 10.0  # constraint of a candidate that has no throughput: far outside


class TrialState(StrEnum):
    """Final state of a trial."""

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
        """True if the trial counts towards the study's total; others are tried again."""
        return self not in (TrialState.LOST, TrialState.INTERRUPTED)


@dataclass(kw_only=True)
class Record(ABC):
    """Result of one network. `mixer_at_fault` is the mixer whose code raised, None if none did
    or it is not certain. `spec` is the backbone as a YAML file holds it; `constraints` are
    Optuna's, at most 0 if the network is within the budget; times are in seconds. `at_most` has
    images/s by mode that no kernel exceeds, of what was rejected by that without a measurement.
    `epochs` are those after which the training was to pause, None if it was to continue to the
    last; `continues` is the trial whose candidate this one trained further, `confirms` the trial
    that this one measured again. `inherited` says whose weights the training began with: `trial`,
    `digest`, and the `share` of its own that they are."""

    state: TrialState
    reason: str = ""
    mixer_at_fault: str | None = None
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

    def to_line(self) -> str:
        """Return the record as one line of JSON, with a checksum and without the newline."""
        data = self.to_data()
        return json.dumps({**data, _CHECKSUM: _checksum(data)}, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Return the record that `to_line` wrote, or an older version without a checksum.

        Raises:
            ValueError: The line is no record, or is not as it was written.
        """
        try:
            data = json.loads(line)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(data, dict):
            raise ValueError(f"got {type(data).__name__}; allowed: a JSON object")
        return cls.from_data(data)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        """Return the record that `to_data` gave.

        Raises:
            ValueError: A key is missing, unknown or of another type, or the checksum differs.
        """
        own = {key: value for key, value in data.items() if key != _CHECKSUM}
        json.dumps(own, ensure_ascii=False).encode()  # a lone surrogate can be read, never printed
        names = {field.name for field in fields(cls)}
        if unknown := sorted(own.keys() - names):
            raise ValueError(f"{', '.join(unknown)}: unknown key")
        if _CHECKSUM in data and data[_CHECKSUM] != _checksum(own):
            raise ValueError("its checksum differs: it was changed after it was written")
        for key, value in own.items():
            if not _TYPES[key](value):
                raise ValueError(f"{key}: got {str(value)[:_SHOWN]!r}, which is of another type")
        try:
            return cls(**{**own, "state": TrialState(own["state"])})
        except (KeyError, TypeError):
            needed = {"number", "name", "state"} & names - own.keys()
            raise ValueError(f"it lacks {', '.join(sorted(needed))}") from None

    @property
    @abstractmethod
    def title(self) -> str:
        """Name of the trial or baseline, in words."""

    @property
    def accuracy(self) -> float | None:
        """The validation accuracy, 0..1, of what was trained and scored."""
        return None if self.score is None else float(self.score["value"])

    def measurement(self, mode: str) -> dict[str, Any] | None:
        """The last measurement of that mode."""
        return next((m for m in reversed(self.measurements) if m["mode"] == mode), None)

    @property
    def was_judged(self) -> bool:
        """True if a budget was put to the candidate, by counting or measuring."""
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
        """True if it counts towards the study's total: each candidate does, once."""
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
        """None if it did not come to be judged by all of the budgets."""
        if self.state is not TrialState.COMPLETE:
            return None
        return all(value <= 0 for value in self.constraints.values())


def has_checksum(line: str) -> bool:
    """Return whether the line of a record holds a checksum."""
    return _CHECKSUM in json.loads(line)


def _checksum(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind) and not isinstance(value, bool)


def _map_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(check(item) for item in value.values())


def _measurement(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("mode"), str)
        and isinstance(value.get("verdict"), str)
        and all(_optional(_number)(value.get(key)) for key in ("images_per_second", "low", "high"))
    )


def _spec(value: Any) -> bool:
    stages = value.get("stages") if isinstance(value, dict) else None
    return isinstance(stages, list) and all(map(_stage, stages))


def _stage(value: Any) -> bool:
    if not isinstance(value, dict) or not {"depth", "width", "block", "mixer"} <= value.keys():
        return False
    mixers = value["mixer"] if isinstance(value["mixer"], list) else [value["mixer"]]
    return all(isinstance(mixer, str) or _mixer_and_options(mixer) for mixer in mixers)


def _mixer_and_options(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and _map_of(_is(dict))(value)


def _inherited(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and "trial" in value
        and _optional(_is(int))(value["trial"])
        and isinstance(value.get("digest"), str)
        and _number(value.get("share", 0))
    )


def _mixer(value: Any) -> bool:
    return _map_of(_is(str))(value) and "name" in value


def _list_of(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(check(item) for item in value)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "number": _is(int),
    "name": _is(str),
    "state": _is(str),
    "reason": _is(str),
    "epochs": _optional(_is(int)),
    "continues": _optional(_is(int)),
    "confirms": _optional(_is(int)),
    "inherited": _optional(_inherited),
    "mixer_at_fault": _optional(_is(str)),
    "spec": _optional(_spec),
    "digest": _optional(_is(str)),
    "params": _optional(_is(int)),
    "macs": _optional(_is(int)),
    "measurements": _list_of(_measurement),
    "at_most": _map_of(_number),
    "peak_memory_bytes": _optional(_is(int)),
    "constraints": _map_of(_number),
    "score": _optional(lambda value: isinstance(value, dict) and _number(value.get("value"))),
    "mixers": _list_of(_mixer),
    "seconds": _map_of(_number),
    "test_accuracy": _optional(_number),
}


def total_seconds(records: Iterable[Record]) -> dict[str, float]:
    """Return the seconds of all records by part."""
    totals: Counter[str] = Counter()
    for record in records:
        totals.update(record.seconds)
    return {name: round(seconds, 3) for name, seconds in totals.items()}


def standing(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the complete trials that were not refuted, in the order of `records`."""
    refuted = {again.confirms for again in refutations(records)}
    return [
        record
        for record in records
        if record.state is TrialState.COMPLETE
        and record.confirms is None
        and record.number not in refuted
    ]


def refutations(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the second measurements by which an earlier trial is no longer within its budget.

    Each `confirms` that trial. It missed a budget, or failed, timed out or ran out of memory.
    """
    return [
        record
        for record in records
        if record.confirms is not None
        and record.state.is_final
        and record.state is not TrialState.COMPLETE
    ]


def ranked(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The complete trials in the order in which they would be the best."""
    return sorted(standing(records), key=lambda record: (-(record.accuracy or 0.0), record.number))
