"""Reading `trials.jsonl` and `baselines.jsonl` while a study may be writing: no lock, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from mixers.errors import did_you_mean
from search.errors import EnvironmentProblem, UsageError
from search.storage.records import (
    BaselineRecord,
    Record,
    TrialRecord,
    TrialState,
    ranked,
    refutations,
)

_SHOWN = 20  # numbers of trials in a message
Kind = TypeVar("Kind", bound=Record)


def read_records(folder: Path) -> list[TrialRecord]:
    """The records in the study's folder, a last line that is still being written left out.

    EnvironmentProblem if another line is no record.
    """
    way = f"`search resume {folder}` makes the file again from the journal"
    return _read(folder / "trials.jsonl", TrialRecord, f"a trial; {way}")


def read_baselines(folder: Path) -> list[BaselineRecord]:
    """The records of baselines in the study's folder, likewise."""
    way = "take the line out: the baseline is evaluated again"
    return _read(folder / "baselines.jsonl", BaselineRecord, f"a baseline; {way}")


def last_of_each(records: Sequence[BaselineRecord]) -> list[BaselineRecord]:
    """Return the last record of each baseline."""
    return list({record.name: record for record in records}.values())


def _read(file: Path, kind: type[Kind], what: str) -> list[Kind]:
    if not file.exists():
        return []
    records = []
    text = file.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            records.append(kind.from_line(line))
        except ValueError as error:
            words = f"{file}:{number}: is no record of {what} ({error})"
            raise EnvironmentProblem(words) from None
    return records


def require_trial(folder: Path, records: Sequence[TrialRecord], number: int) -> TrialRecord:
    """The record of trial `number`; UsageError, with the nearest number, if there is none.

    What only measured another trial again is none.
    """
    candidates = [record for record in records if record.confirms is None]
    found = next((record for record in candidates if record.number == number), None)
    if found is not None:
        return found
    known = [record.number for record in candidates]
    if not known:
        raise UsageError(f"trial {number}: {folder} has no trial on record yet")
    next_to = [str(other) for other in known if abs(other - number) == 1]
    words = f"{folder} has no such trial; allowed: {in_words(known)}{did_you_mean(*next_to)}"
    raise UsageError(f"trial {number}: {words}")


def require_rerunnable(folder: Path, records: Sequence[TrialRecord], number: int) -> None:
    """UsageError, with those that can be run again, if trial `number` cannot."""
    whole = [record for record in records if record.spec is not None]
    if not any(record.number == number for record in records if record.confirms is None):
        require_trial(folder, whole, number)


def require_exportable(
    folder: Path, records: Sequence[TrialRecord], number: int | None
) -> TrialRecord:
    """The record of the trial to export: `number`, or the best if that is None.

    UsageError if there is none, or it was not trained to its end.
    """
    numbers = [trial.number for trial in complete(records)]
    if number is None:
        best = next(iter(ranked(records)), None)
        if best is None:
            refuted = [int(again.confirms or 0) for again in refutations(records)]
            why = "no trial is complete yet, so none is the best"
            if refuted:
                why = f"no trial is the best: {in_words(refuted)} missed when measured again"
            raise UsageError(f"{folder}: {why}; allowed: --trial N of {in_words(numbers)}")
        return best
    record = require_trial(folder, records, number)
    if record.state is not TrialState.COMPLETE:
        reason = record.reason.partition("\n")[0]
        raise UsageError(
            f"trial {number}: got one that is {record.state} ({reason}) and was not trained to its "
            f"end; allowed: {in_words(numbers)}"
        )
    return record


def complete(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that were trained to the end and scored."""
    return [r for r in records if r.state is TrialState.COMPLETE and r.confirms is None]


def in_words(numbers: Sequence[int]) -> str:
    """Numbers of trials for a message, the first twenty of them; `none` if there are none."""
    shown = ", ".join(str(number) for number in numbers[:_SHOWN]) or "none"
    return shown + (f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else "")
