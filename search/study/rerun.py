"""A trial once more, from its record alone: rebuilt, measured, trained, and held against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from metaformer.spec import BackboneSpec
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.evaluation.evaluator import CandidateEvaluator
from search.formatting import interval, speed
from search.storage.records import TrialRecord, TrialState
from search.workers.run_task import put_blame


@dataclass(frozen=True)
class Comparison:
    """One figure on record and now. `note` says by how much it differs, or why it may."""

    what: str
    recorded: Any
    now: Any
    agrees: bool
    note: str = ""

    def __str__(self) -> str:
        words = f"{self.what}: recorded {self.recorded}, now {self.now}"
        verdict = "agrees" if self.agrees else "DIFFERS"
        return f"{words}: {verdict}" + (f"; {self.note}" if self.note else "")


@dataclass(frozen=True)
class Rerun:
    """The new record, and how it compares."""

    record: TrialRecord
    comparisons: list[Comparison]

    @property
    def agrees(self) -> bool:
        return all(comparison.agrees for comparison in self.comparisons)

    def to_data(self, recorded: TrialRecord) -> dict[str, Any]:
        """Return what `search rerun --json` prints."""
        return {
            "schema": 1,
            "agrees": self.agrees,
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "recorded": recorded.to_data(),
            "rerun": self.record.to_data(),
        }


def rerun(
    recorded: TrialRecord,
    spec: BackboneSpec,
    evaluator: CandidateEvaluator,
    *,
    accuracy_within: float = 0.0,
) -> Rerun:
    """Evaluates `spec` again and compares with `recorded`, the accuracy to `accuracy_within`.

    What was trained then is trained now, even if it misses its budget now. EnvironmentProblem
    if others at work on the device leave no valid measurement.
    """
    record = TrialRecord(
        number=recorded.number,
        state=TrialState.FAILED,
        epochs=recorded.epochs,
        inherited=recorded.inherited,
    )
    _guarded(record, spec, evaluator, evaluator.evaluate)
    if record.state is TrialState.INTERRUPTED:
        raise EnvironmentProblem(f"trial {recorded.number}: {record.reason}; try again when idle")
    if recorded.score is not None and record.state is TrialState.REJECTED:
        trained = replace(record, measurements=[], constraints={}, seconds={})
        _guarded(trained, spec, evaluator, evaluator.train)
        record.score = trained.score
        record.seconds |= trained.seconds
    return Rerun(record, _compare(recorded, record, accuracy_within))


def _guarded(
    record: TrialRecord,
    spec: BackboneSpec,
    evaluator: CandidateEvaluator,
    evaluate: Callable[[BackboneSpec, TrialRecord], object],
) -> None:
    try:
        evaluate(spec, record)
    except (UsageError, EnvironmentProblem, Interrupted):  # of the machine, not the candidate
        raise
    except BaseException as error:  # of a mixer's code, SystemExit is a failure too
        blamed = put_blame(error, spec, record, evaluator.registry)
        if not blamed and not isinstance(error, Exception):
            raise


def _compare(old: TrialRecord, new: TrialRecord, accuracy_within: float) -> list[Comparison]:
    found = [_equal("digest", old.digest, new.digest), _state(old, new)]
    found += [
        _equal(name, getattr(old, name), getattr(new, name))
        for name in ("params", "macs")
        if getattr(old, name) is not None
    ]
    modes = dict.fromkeys(measured["mode"] for measured in old.measurements)
    found += [_throughput(mode, old, new) for mode in modes if _has_interval(old, mode)]
    if old.score is not None:
        found.append(_accuracy(old, new, accuracy_within))
    return found


def _equal(what: str, recorded: Any, now: Any) -> Comparison:
    return Comparison(what, recorded, now, recorded == now)


def _state(old: TrialRecord, new: TrialRecord) -> Comparison:
    note = new.reason.partition("\n")[0] if old.state is not new.state else ""
    return Comparison("state", old.state.value, new.state.value, old.state is new.state, note)


def _has_interval(record: TrialRecord, mode: str) -> bool:
    measured = record.measurement(mode)
    return measured is not None and measured["images_per_second"] is not None


def _throughput(mode: str, old: TrialRecord, new: TrialRecord) -> Comparison:
    """Agrees if the intervals overlap."""
    before, now = old.measurement(mode), new.measurement(mode)
    assert before is not None
    what = mode if mode == "latency" else f"{mode} throughput"
    if now is None or now["images_per_second"] is None:
        return Comparison(what, _interval(before), None, False, new.reason.partition("\n")[0])
    overlap = before["low"] <= now["high"] and now["low"] <= before["high"]
    note = f"{now['images_per_second'] / before['images_per_second'] - 1:+.1%}"
    devices = [measured["environment"].get("device_name") for measured in (before, now)]
    if devices[0] != devices[1]:
        note += f", recorded on {devices[0]}, here {devices[1]}"
    return Comparison(what, _interval(before), _interval(now), overlap, note)


def _interval(measured: dict[str, Any]) -> str:
    return f"{speed(measured)} {interval(measured)}"


def _accuracy(old: TrialRecord, new: TrialRecord, within: float) -> Comparison:
    recorded, now = old.accuracy, new.accuracy
    if recorded is None or now is None:
        reason = new.reason.partition("\n")[0]
        return Comparison("validation accuracy", recorded, now, False, reason)
    note = "" if recorded == now else f"by {now - recorded:+.4f}"
    agrees = abs(now - recorded) <= within
    return Comparison("validation accuracy", recorded, now, agrees, note)
