"""`search export`: files, exit codes and bad input."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from search.cli import main


def export(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["export", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize(
    ("form", "files"),
    [
        ("folder", "README.md backbone.yaml model.safetensors preprocessing.json"),
        ("onnx", "README.md backbone.yaml model.onnx preprocessing.json"),
        ("timm", "README.md backbone.yaml config.json model.safetensors preprocessing.json"),
    ],
)
def test_each_form_has_its_files_and_the_study_is_left_alone(
    finished: Path, form: str, files: str
) -> None:
    before = {file: file.read_bytes() for file in finished.iterdir()}
    result = export(str(finished), "--to", form, "--out", "there")
    assert result.exit_code == 0, result.output
    assert sorted(os.listdir("there")) == files.split()
    assert "there/README.md" in result.output
    assert {file: file.read_bytes() for file in finished.iterdir()} == before


def test_without_out_the_folder_is_named_by_study_trial_and_form(finished: Path) -> None:
    best = json.loads((finished / "summary.json").read_text())["best"]["trial"]
    assert export(str(finished), "--to", "folder").exit_code == 0
    assert Path(f"tiny-trial{best}-folder/model.safetensors").exists()
    again = export(str(finished), "--to", "folder")
    assert (again.exit_code, "--force replaces it" in again.output) == (2, True)
    assert export(str(finished), "--to", "folder", "--force").exit_code == 0


def test_another_trial_needs_its_weights_trained_again(finished: Path) -> None:
    other = str(1 - json.loads((finished / "summary.json").read_text())["best"]["trial"])
    result = export(str(finished), "--trial", other, "--to", "folder")
    assert (result.exit_code, "--retrain trains it again" in result.output) == (2, True)
    result = export(str(finished), "--trial", other, "--to", "folder", "--retrain")
    assert result.exit_code == 0, result.output
    card = Path(f"tiny-trial{other}-folder/README.md").read_text()
    assert "trained again for this export" in card
    assert "test accuracy: none reported" in card


def test_bad_input_is_answered_in_one_message_and_leaves_nothing(finished: Path) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").touch()
    to = ["--to", "folder"]
    for arguments, words in (
        (["runs/tinny", *to], "did you mean runs/tiny?"),
        (["runs/tiny"], "Missing option '--to'"),
        (["runs/tiny", "--to", "foldr"], "'foldr' is not one of 'folder', 'onnx', 'timm'"),
        (["runs/tiny", *to, "--trial", "x"], "'x' is not a valid integer"),
        (["runs/tiny", *to, "--trial", "5"], "runs/tiny has no such trial; allowed: 0, 1"),
        (["runs/tiny", *to, "--out", "mine", "--force"], "such as thesis.tex"),
        (["runs/tiny", *to, "--out", "no/there"], "no such folder"),
    ):
        before = sorted(os.listdir())
        result = export(*arguments)
        assert result.exit_code == 2, result.output
        assert words in result.output
        assert result.output.count("rror: ") == 1
        assert sorted(os.listdir()) == before


def test_a_mixer_that_is_gone_is_an_affair_of_the_environment(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "trials.jsonl").read_text().splitlines()]
    for line in lines:
        line["mixers"][0]["name"] = "theirs/gone"
        del line["checksum"]  # as a record of an older version
    (finished / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = export(str(finished), "--to", "folder")
    assert result.exit_code == 4
    assert "theirs/gone: not installed" in result.output


def test_packages_that_are_missing_are_said_before_anything_else(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(os.listdir())
    monkeypatch.setattr("search.export.onnx_file.PACKAGES", ("no_such_package",))
    result = export(str(finished), "--to", "onnx")
    assert result.exit_code == 4
    assert "pip install no_such_package" in result.output
    assert sorted(os.listdir()) == before
