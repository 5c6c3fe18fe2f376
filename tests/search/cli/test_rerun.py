"""`search rerun`: a trial again from its record, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from run_files import edit_trial

from search.cli import main


def rerun(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["rerun", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def wide(finished: Path) -> Path:
    """The finished study, its throughputs recorded with intervals that hold any device's."""
    for number in (0, 1):
        line = (finished / "trials.jsonl").read_text().splitlines()[number]
        measured = [{**m, "low": 0.1, "high": 1e9} for m in json.loads(line)["measurements"]]
        edit_trial(finished, number, measurements=measured)
    return finished


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.iterdir()}


def test_a_trial_comes_out_as_on_record_and_the_study_is_left_alone(wide: Path) -> None:
    before = contents(wide)
    result = rerun(str(wide), "1", "--out", "again.json")
    assert result.exit_code == 0, result.output
    for what in ("digest", "state", "params", "macs", "train throughput", "validation accuracy"):
        assert f"{what}: recorded" in result.stdout
    assert "DIFFERS" not in result.stdout
    last = result.stdout.splitlines()[-1]
    assert (
        json.loads(last)["spec"]
        == json.loads(before[wide / "trials.jsonl"].splitlines()[1])["spec"]
    )
    assert Path("again.json").read_text() == last + "\n"
    assert contents(wide) == before


def test_json_holds_both_records_and_every_comparison(wide: Path) -> None:
    data = json.loads(rerun(str(wide), "0", "--json").stdout)
    assert data["agrees"]
    assert data["recorded"]["score"] == data["rerun"]["score"]
    assert len(data["comparisons"]) == 6


def test_each_figure_that_differs_is_said_with_exit_code_3(wide: Path) -> None:
    score = {"metric": "accuracy", "value": 0.99, "epochs": 1, "split": "validation"}
    edit_trial(wide, 0, digest="0" * 16, params=7, score=score)
    result = rerun(str(wide), "0")
    assert result.exit_code == 3
    assert result.output.count("DIFFERS") == 3
    assert "validation accuracy: recorded 0.99, now 0." in result.output
    assert "DIFFERS; by -0." in result.output
    edit_trial(wide, 1, score=score)
    assert rerun(str(wide), "1", "--accuracy-within", "1").exit_code == 0


def test_throughputs_that_do_not_overlap_differ(finished: Path) -> None:
    line = (finished / "trials.jsonl").read_text().splitlines()[0]
    measured = [
        {**m, "low": 1e8, "high": 1e9, "environment": {"device_name": "another"}}
        for m in json.loads(line)["measurements"]
    ]
    edit_trial(finished, 0, measurements=measured)
    result = rerun(str(finished), "0")
    assert result.exit_code == 3
    assert "DIFFERS; " in result.output
    assert "recorded on another, here " in result.output


def test_what_misses_its_budget_now_is_trained_all_the_same(wide: Path) -> None:
    text = (wide / "study.yaml").read_text()
    (wide / "study.yaml").write_text(text.replace("budget: {train: 1.0}", "budget: {params: 1}"))
    result = rerun(str(wide), "0")
    assert result.exit_code == 3
    assert "state: recorded COMPLETE, now REJECTED: DIFFERS" in result.output
    (line,) = [x for x in result.output.splitlines() if x.startswith("validation accuracy")]
    assert line.endswith(": agrees")


def test_a_mixer_that_is_gone_or_has_changed_is_an_affair_of_the_environment(wide: Path) -> None:
    line = (wide / "trials.jsonl").read_text().splitlines()[0]
    (mixer,) = json.loads(line)["mixers"]
    edit_trial(wide, 0, mixers=[{**mixer, "version": "0.0.9"}])
    result = rerun(str(wide), "0")
    assert result.exit_code == 4
    assert "version: was" in result.output
    assert "--allow-drift" in result.output
    assert rerun(str(wide), "0", "--allow-drift").exit_code == 0
    edit_trial(wide, 0, mixers=[{**mixer, "name": "theirs/gone"}])
    result = rerun(str(wide), "0", "--allow-drift")
    assert (result.exit_code, "theirs/gone: not installed" in result.output) == (4, True)


def test_bad_input_is_answered_in_one_message(finished: Path) -> None:
    edit_trial(finished, 1, state="LOST", reason="the process died", spec=None)
    Path("there.json").touch()
    for arguments, words in (
        (["runs/tinny", "0"], "did you mean runs/tiny?"),
        (["runs/tiny", "x"], "'x' is not a valid integer"),
        (["runs/tiny", "7"], "runs/tiny has no such trial; allowed: 0"),
        (["runs/tiny", "1"], "trial 1: got one that is LOST (the process died)"),
        (["runs/tiny", "0", "--out", "there.json"], "--out there.json: is there already"),
        (["runs/tiny", "0", "--out", "no/x.json"], "no such folder: no"),
    ):
        result = rerun(*arguments)
        assert result.exit_code == 2, result.output
        assert words in result.output
        assert result.output.count("rror: ") == 1


def test_a_record_whose_backbone_cannot_be_read_is_named(finished: Path) -> None:
    edit_trial(finished, 0, spec={"name": "tiny", "stages": []})
    result = rerun(str(finished), "0")
    assert result.exit_code == 4
    assert "trials.jsonl: trial 0: spec.stem: " in result.output
    assert result.output.count("rror: ") == 1
