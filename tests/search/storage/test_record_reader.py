"""Records read while somebody may be writing them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from search.errors import EnvironmentProblem, UsageError
from search.storage.record_reader import complete, in_words, read_records, require_trial
from search.storage.records import TrialRecord, TrialState


def written(*numbers: int, tail: str = "") -> list[TrialRecord]:
    records = [TrialRecord(number=number, state=TrialState.COMPLETE) for number in numbers]
    lines = "".join(json.dumps(record.to_data()) + "\n" for record in records)
    Path("trials.jsonl").write_text(lines + tail)
    return records


def test_a_last_line_that_is_still_being_written_is_left_out() -> None:
    records = written(0, 1, tail='{"number": 2, "sta')
    assert read_records(Path()) == records


def test_a_folder_without_trials_has_none() -> None:
    assert read_records(Path()) == []


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"state": "COMPLETE"}', '{"state": "GONE"}'])
def test_another_broken_line_is_named(line: str) -> None:
    written(0, tail=f"{line}\n")
    with pytest.raises(EnvironmentProblem, match=r"trials.jsonl:2: is no record of a trial"):
        read_records(Path())


def test_a_trial_that_is_not_there_is_answered_with_the_nearest() -> None:
    records = written(0, 4, 9)
    assert require_trial(Path("runs/x"), records, 4) is records[1]
    with pytest.raises(UsageError, match=r"trial 99: .*allowed: 0, 4, 9$"):
        require_trial(Path("runs/x"), records, 99)
    with pytest.raises(UsageError, match=r"trial 8: .*allowed: 0, 4, 9; did you mean 9\?"):
        require_trial(Path("runs/x"), records, 8)
    with pytest.raises(UsageError, match="runs/x has no trial on record yet"):
        require_trial(Path("runs/x"), [], 7)


def test_a_long_list_of_numbers_is_cut() -> None:
    assert in_words([]) == "none"
    assert in_words(range(30)).endswith("18, 19 and 10 more")


def test_what_was_not_trained_is_not_complete() -> None:
    rejected = TrialRecord(number=1, state=TrialState.REJECTED)
    assert complete([*written(0), rejected]) == [TrialRecord(number=0, state=TrialState.COMPLETE)]


@pytest.mark.parametrize(
    "changes",
    [
        {"inherited": {}},
        {"inherited": {"trial": 0}},
        {"inherited": {"trial": 0, "digest": "a", "share": None}},
        {"spec": {"stages": [{"a": 1}]}},
        {"spec": {"stages": [{"depth": 1, "width": 4, "block": "metanext", "mixer": 0.5}]}},
        {"spec": {}},
        {"reason": "\ud800"},
    ],
)
def test_a_record_of_another_form_without_a_checksum_is_refused(changes: dict[str, Any]) -> None:
    record = TrialRecord(number=0, state=TrialState.COMPLETE).to_data()
    with pytest.raises(ValueError, match="another type|surrogates"):
        TrialRecord.from_data({**record, **changes})
