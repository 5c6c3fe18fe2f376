"""`search status`: text, lists, JSON and bad input."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from search.cli import main
from search.storage.journal import exclusive
from search.storage.records import BaselineRecord, TrialState
from search.storage.run_folder import RunFolder


def status(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["status", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_one_study_is_told_with_its_best_and_its_last_trials(finished: Path) -> None:
    result = status(str(finished))
    assert result.exit_code == 0
    for words in (
        "tiny in runs/tiny: budget train 1 images/s",
        "trained on digits at 8 pixels",
        "2 of 2 trials (2 COMPLETE)",
        "best: trial ",
        "test accuracy",
        "last trials:\n  0  COMPLETE",
        "time spent: ",
        "done; for more: search resume runs/tiny --trials N, with N above 2",
    ):
        assert words in result.output
    assert "nearest miss" not in result.output


def test_a_study_that_runs_names_its_process(finished: Path) -> None:
    with exclusive(finished / "study.lock", "held"):
        assert "running: process " in status(str(finished)).output


def test_a_study_that_was_left_names_the_command_that_goes_on(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    (finished / "summary.json").write_text(json.dumps({**summary, "outcome": "time limit"}))
    words = "stopped (time limit); to resume: search resume runs/tiny"
    assert words in status(str(finished)).output


def test_a_nearest_miss_is_told_with_its_reason(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    best = {**summary["best"], "validation_accuracy": None, "test_accuracy": None}
    miss = {**best, "reason": "train: 1 of 2 images/s"}
    (finished / "summary.json").write_text(
        json.dumps({**summary, "best": None, "nearest_miss": miss})
    )
    output = status(str(finished)).output
    assert "best: none; nearest miss: trial" in output
    assert "train: 1 of 2 images/s" in output


def test_without_a_folder_every_study_has_a_line(finished: Path) -> None:
    lines = status().output.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("runs/tiny: 2 of 2 trials (2 COMPLETE); best: trial ")
    assert status("--out", "runs").output.splitlines() == lines
    (listed,) = json.loads(status("--json").output)
    assert listed == json.loads(status(str(finished), "--json").output)


def test_what_is_no_study_is_answered_in_one_message(finished: Path) -> None:
    for arguments, words in (
        (["runs/tinny"], "runs/tinny: no such folder; allowed: the folder of a study, such as "
         "runs/NAME; did you mean runs/tiny?"),
        (["runs"], "runs: holds no study.yaml; allowed: the folder of a study, such as runs/NAME; "
         "did you mean runs/tiny?"),
        (["runs/tiny/study.yaml"], "got a file; allowed: the folder of a study, such as runs/NAME; "
         "did you mean runs/tiny?"),
        (["--out", "nowhere"], "nowhere: no study in it"),
        ([str(finished), "--out", "runs"], "--out lists the studies of a folder"),
    ):  # fmt: skip
        result = status(*arguments)
        assert result.exit_code == 2
        assert words in result.output
        assert result.output.count("rror: ") == 1


def test_a_study_that_cannot_be_read_does_not_hide_the_others(finished: Path) -> None:
    other = Path("runs/another")
    other.mkdir()
    (other / "study.yaml").write_text("name: another\n")
    lines = status().output.splitlines()
    assert lines[0].startswith("runs/another: runs/another/study.yaml is not what `search run`")
    assert lines[1].startswith(f"{finished}: 2 of 2 trials")
    assert "problem" in json.loads(status("--json").output)[0]


def test_baselines_have_a_line_each(finished: Path) -> None:
    assert "baselines" not in status(str(finished)).output
    failed = BaselineRecord(name="/far/mine.yaml", state=TrialState.FAILED, reason="KeyError: 1")
    RunFolder(finished).write_baselines([failed])
    assert "baselines:\n  mine.yaml  FAILED  0.0 s  KeyError: 1\n" in status(str(finished)).output
