"""The script that damages what the commands read: it sees each sort of violation."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from damage import Result, judge, records, snapshot
from damage_kinds import MUTATIONS, damages

LINE = b'{"number":0,"state":"COMPLETE"}'


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "work/runs/small").mkdir(parents=True)
    (tmp_path / "work/runs/small/trials.jsonl").write_bytes(LINE + b"\n")
    return tmp_path


def sorts(box: Path, result: Result, before: dict[str, str]) -> list[str]:
    return [sort for sort, _ in judge(result, before, box, {LINE})]


def test_a_command_that_does_as_documented_is_no_violation(box: Path) -> None:
    assert sorts(box, Result(2, b"", b"error: x\n"), snapshot(box)) == []


@pytest.mark.parametrize(
    ("result", "sort"),
    [
        (Result(None, b"", b"x"), "hang"),
        (Result(1, b"", b"x"), "exit code"),
        (Result(-11, b"", b"x"), "exit code"),
        (Result(2, b"", b"Traceback (most recent call last):\n"), "traceback"),
        (Result(4, b"", b"\n"), "no message"),
        (Result(0, b"\x1b[31m", b""), "control characters"),
        (Result(0, "\x9b".encode(), b""), "control characters"),
    ],
)
def test_what_a_command_prints_and_returns_is_judged(box: Path, result: Result, sort: str) -> None:
    assert sorts(box, result, snapshot(box)) == [sort]


def test_a_file_written_outside_a_marker_and_a_lost_record_are_reported(box: Path) -> None:
    before = snapshot(box)
    (box / "outside/new").write_text("x")
    (box / "marker").write_text("run")
    (box / "work/runs/small/trials.jsonl").write_bytes(b"")
    expected = ["code was run", "written outside", "lost"]
    assert sorts(box, Result(0, b"", b""), before) == expected


def test_a_record_that_is_kept_in_a_backup_is_not_lost(box: Path) -> None:
    before, trials = snapshot(box), box / "work/runs/small/trials.jsonl"
    trials.rename(trials.with_suffix(".bak"))
    assert sorts(box, Result(0, b"", b""), before) == []


def test_there_are_more_than_a_hundred_damages_and_no_two_have_one_name() -> None:
    names = [damage.name for damage in damages()]
    assert len(names) == len(set(names)) > 100


@pytest.mark.parametrize("name", ["flipped", "truncated", "line-removed", "noise", "escape"])
def test_a_damage_is_repeated_by_its_seed(tmp_path: Path, name: str) -> None:
    path, results = tmp_path / "x.jsonl", set()
    for _ in range(2):
        path.write_bytes((LINE + b"\n") * 4)
        MUTATIONS[name](path, random.Random("0 name"))
        results.add(path.read_bytes())
    assert len(results) == 1
    assert records(tmp_path) or name == "noise"
