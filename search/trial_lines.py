"""Reading `trials.jsonl` and `baselines.jsonl` while a study may be writing: no lock, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from mixers.errors import did_you_mean
from search.errors import EnvironmentProblem, UsageError
from search.records import BaselineRecord, Record, TrialRecord, TrialState

_SHOWN = 20  # numbers of trials in a message
Kind = TypeVar("Kind", bound=Record)


def read_records(folder: Path) -> list[TrialRecord]:
    """The records in the study's folder, a last line that is still being written left out.

    EnvironmentProblem where another line is no record.
    """
    way = f"`search resume {folder}` makes the file again from the journal"
    return _read(folder / "trials.jsonl", TrialRecord, f"a trial; {way}")


def read_baselines(folder: Path) -> list[BaselineRecord]:
    """The records of baselines in the study's folder, likewise."""
    way = "take the line out: the baseline is evaluated again"
    return _read(folder / "baselines.jsonl", BaselineRecord, f"a baseline; {way}")


def last_of_each(records: Sequence[BaselineRecord]) -> list[BaselineRecord]:
    """How each baseline ended the last time that it was evaluated."""
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
    """The record of trial `number`; UsageError, with the nearest number, where there is none.

    What only measured another trial again is none.
    """
    candidates = [record for record in records if record.confirms is None]
    found = next((record for record in candidates if record.number == number), None)
    if found is not None:
        return found
    known = [record.number for record in candidates]
    if not known:
        raise UsageError(f"trial {number}: {folder} has no trial on record yet")
    close = min(known, key=lambda other: abs(other - number))
    words = f"{folder} has no such trial; allowed: {in_words(known)}{did_you_mean(str(close))}"
    raise UsageError(f"trial {number}: {words}")


def complete(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that were trained to the end and scored."""
    return [r for r in records if r.state is TrialState.COMPLETE and r.confirms is None]


def in_words(numbers: Sequence[int]) -> str:
    """Numbers of trials for a message, the first twenty of them; `none` where there are none."""
    shown = ", ".join(str(number) for number in numbers[:_SHOWN]) or "none"
    return shown + (f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else "")
