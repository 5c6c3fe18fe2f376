"""Mixers that only ever fail are set aside: candidates with them are not proposed any more.

All of it follows from the records and from what the study's mixers are now, so that a study that
continues has it again, and a mixer that was mended or upgraded begins again
(docs/decisions/0017-set-aside.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mixers.scan import OWN_DISTRIBUTION
from search.storage.records import DIVERGED, STUDY_DIED, TrialRecord, TrialState

FAILED_CANDIDATES = 3  # different ones, before a mixer is set aside
_ORIGIN = ("distribution", "version", "entry_point", "origin", "files")
_OF_THE_TRAINER = "TrainerError: "
_DIED = "its process died"  # how the reason of a candidate whose worker died begins
_SHOWN = 100  # characters of a reason


@dataclass(frozen=True)
class QuarantinedMixer:
    """A mixer that is set aside, the trials that it failed in, and their different reasons."""

    mixer: str
    version: str
    trials: tuple[int, ...]
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        numbers = ", ".join(str(number) for number in self.trials)
        why = "; ".join(self.reasons)
        return f"mixer {self.mixer} is set aside: it failed in trials {numbers}: {why}"

    def to_data(self) -> dict[str, Any]:
        """As summary.json holds it."""
        return {**asdict(self), "trials": list(self.trials), "reasons": list(self.reasons)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> QuarantinedMixer:
        lists = {key: tuple(data[key]) for key in ("trials", "reasons")}
        return cls(**{**data, **lists})


def set_aside(
    records: Iterable[TrialRecord], mixers: Sequence[dict[str, Any]]
) -> dict[str, QuarantinedMixer]:
    """The mixers that are set aside, by name; `mixers` are the study's as they are now, frozen.

    Such a mixer has never run to the end of a measurement or a training, and failed in three
    candidates or more whose failure no other such mixer explains.
    """
    evidence = Evidence.of(records, mixers)
    left = evidence.faults
    found = {}
    while left:
        name = max(left, key=lambda name: (len(left[name]), name in evidence.of_others, name))
        explained = left.pop(name)
        if len(explained) < FAILED_CANDIDATES:
            break
        faults = sorted(explained.values(), key=lambda record: record.number)
        found[name] = QuarantinedMixer(
            name,
            evidence.versions[name],
            tuple(record.number for record in faults),
            tuple(dict.fromkeys(_in_short(record.reason) for record in faults)),
        )
        left = {
            other: {digest: record for digest, record in of.items() if digest not in explained}
            for other, of in left.items()
        }
    return found


@dataclass(frozen=True)
class Evidence:
    """`faults` are, of each mixer that has never worked, the candidates that failed with it, by
    digest; `of_others` are not this project's; `any_worked` says whether any mixer has."""

    faults: dict[str, dict[str, TrialRecord]]
    versions: dict[str, str]
    of_others: frozenset[str]
    any_worked: bool

    @classmethod
    def of(cls, records: Iterable[TrialRecord], mixers: Sequence[dict[str, Any]]) -> Evidence:
        """Read the records of `mixers` as they are installed now; those of earlier code do not
        count."""
        now = {mixer["name"]: _origin(mixer) for mixer in mixers}
        last: dict[str, TrialRecord] = {}
        worked: set[str] = set()
        for record in records:
            if record.digest is not None:
                last[record.digest] = record
            if _ran(record):
                worked.update(_same(record, now))
        faults: dict[str, dict[str, TrialRecord]] = {}
        for digest, record in last.items():
            for name in _suspects(record, now, any_worked=bool(worked)):
                if name not in worked:
                    faults.setdefault(name, {})[digest] = record
        return cls(
            faults,
            {mixer["name"]: mixer["version"] for mixer in mixers},
            frozenset(
                mixer["name"] for mixer in mixers if mixer["distribution"] != OWN_DISTRIBUTION
            ),
            bool(worked),
        )


def _ran(record: TrialRecord) -> bool:
    """Return whether the network's code ran to the end of a measurement or a training."""
    measured = any(one["images_per_second"] is not None for one in record.measurements)
    trained = record.state in (TrialState.COMPLETE, TrialState.PRUNED)
    diverged = record.reason.startswith(DIVERGED)
    return measured or trained or diverged or record.peak_memory_bytes is not None


def is_fault(record: TrialRecord) -> bool:
    """Return whether the network's code raised, ended its process, or did not come to an end."""
    if record.state is TrialState.FAILED:
        return not record.reason.startswith((DIVERGED, STUDY_DIED, _OF_THE_TRAINER))
    return record.state in (TrialState.LOST, TrialState.TIMEOUT)


def _suspects(
    record: TrialRecord, now: dict[str, tuple[Any, ...]], *, any_worked: bool
) -> list[str]:
    """The mixers that a failure counts against.

    It counts against the mixer at fault alone. An exception that names none, before anything has
    worked, may be the data's or this project's; a process that died may be any mixer's.
    """
    if not is_fault(record):
        return []
    same = _same(record, now)
    if record.mixer_at_fault is not None:
        return [name for name in same if name == record.mixer_at_fault]
    unexplained = record.state is TrialState.FAILED and not record.reason.startswith(_DIED)
    return [] if unexplained and not any_worked else same


def _same(record: TrialRecord, now: dict[str, tuple[Any, ...]]) -> list[str]:
    """The mixers of a record that are what they were."""
    return [m["name"] for m in record.mixers if now.get(m["name"]) == _origin(m)]


def _origin(mixer: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(mixer.get(key) for key in _ORIGIN)


def _in_short(reason: str) -> str:
    line = reason.partition("\n")[0]
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."
