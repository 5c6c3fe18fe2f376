"""Reading `trials.jsonl` while a study may be writing it: no lock, no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mixers.errors import did_you_mean
from search.errors import EnvironmentProblem, UsageError
from search.records import TrialRecord, TrialState

_SHOWN = 20  # numbers of trials in a message


def read_records(folder: Path) -> list[TrialRecord]:
    """The records in the study's folder, a last line that is still being written left out.

    EnvironmentProblem where another line is no record.
    """
    file = folder / "trials.jsonl"
    if not file.exists():
        return []
    records = []
    text = file.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        try:
            records.append(TrialRecord.from_data(json.loads(line)))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise EnvironmentProblem(
                f"{file}:{number}: is no record of a trial; `search resume {folder}` makes the "
                "file again from the journal"
            ) from None
    return records


def require_trial(folder: Path, records: Sequence[TrialRecord], number: int) -> TrialRecord:
    """The record of trial `number`; UsageError, with the nearest number, where there is none."""
    found = next((record for record in records if record.number == number), None)
    if found is not None:
        return found
    known = [record.number for record in records]
    if not known:
        raise UsageError(f"trial {number}: {folder} has no trial on record yet")
    close = min(known, key=lambda other: abs(other - number))
    words = f"{folder} has no such trial; allowed: {in_words(known)}{did_you_mean(str(close))}"
    raise UsageError(f"trial {number}: {words}")


def complete(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that were trained and scored."""
    return [record for record in records if record.state is TrialState.COMPLETE]


def in_words(numbers: Sequence[int]) -> str:
    """Numbers of trials for a message, the first twenty of them; `none` where there are none."""
    shown = ", ".join(str(number) for number in numbers[:_SHOWN]) or "none"
    return shown + (f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else "")
