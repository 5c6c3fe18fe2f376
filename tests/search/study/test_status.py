"""How a study stands, read next to the process that runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from search.errors import EnvironmentProblem
from search.storage.journal import exclusive
from search.storage.records import BaselineRecord, TrialRecord, TrialState
from search.storage.run_folder import RunFolder
from search.study import status
from search.study.status import holder_of, study_status


def test_a_study_is_read_without_the_c_loader_of_yaml(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    found = importlib.util.find_spec("search.study.status")
    assert found is not None
    assert found.loader is not None
    without = importlib.util.module_from_spec(found)
    found.loader.exec_module(without)
    assert without.study_status(finished) == study_status(finished)


def test_a_finished_study_is_told_whole(finished: Path) -> None:
    found = study_status(finished)
    summary = json.loads((finished / "summary.json").read_text())
    assert found["name"] == "tiny"
    assert found["trials"] == summary["trials"]
    assert found["best"] == summary["best"]
    assert found["seconds"] == summary["seconds"]
    assert [trial["trial"] for trial in found["last"]] == [0, 1]
    assert found["last"][0]["throughput"][0]["mode"] == "train"
    assert not found["running"]
    assert found["go_on"] == "search resume runs/tiny"
    assert found["budget"] == {"train": 1.0}


def test_whoever_holds_the_study_is_named_and_no_command_offered(finished: Path) -> None:
    with exclusive(finished / "study.lock", "held"):
        found = study_status(finished)
    assert (found["running"], found["pid"], found["go_on"]) == (True, os.getpid(), None)
    assert not study_status(finished)["running"]


def test_a_holder_that_the_kernel_does_not_list_is_seen_all_the_same(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "_LOCKS", Path("no_such_list"))
    with exclusive(finished / "study.lock", "held"):
        assert holder_of(finished / "study.lock") == 0
        assert study_status(finished)["pid"] is None
    assert holder_of(finished / "study.lock") is None


def test_asking_leaves_the_lock_free(finished: Path) -> None:
    study_status(finished)
    with exclusive(finished / "study.lock", "held"):
        pass


def test_trials_that_the_summary_does_not_know_yet_are_counted(finished: Path) -> None:
    lines = (finished / "trials.jsonl").read_text().splitlines()
    third = TrialRecord.from_data({**TrialRecord.from_line(lines[1]).to_data(), "number": 2})
    (finished / "trials.jsonl").write_text("\n".join([*lines, third.to_line(), '{"torn']))
    found = study_status(finished)
    assert (found["trials"]["counted"], found["not_yet_in_summary"]) == (3, 1)


def test_before_the_first_trial_there_is_nothing_but_the_settings(finished: Path) -> None:
    (finished / "trials.jsonl").unlink()
    (finished / "summary.json").unlink()
    found = study_status(finished)
    assert (found["best"], found["last"], found["trials"]["counted"]) == (None, [], 0)


@pytest.mark.parametrize("text", ["", "name: tiny\n", "a: [", "- 1\n", "\x00"])
def test_a_study_file_that_no_run_wrote_is_named(finished: Path, text: str) -> None:
    (finished / "study.yaml").write_text(text)
    with pytest.raises(EnvironmentProblem, match=r"study.yaml is not what `search run` wrote"):
        study_status(finished)


def test_a_damaged_summary_is_named(finished: Path) -> None:
    (finished / "summary.json").write_text("{")
    with pytest.raises(EnvironmentProblem, match=r"summary.json is not what `search run` wrote"):
        study_status(finished)


def test_it_imports_neither_torch_nor_optuna(finished: Path) -> None:
    code = (
        "import sys; from search.cli import main\n"
        f"main(['status', {str(finished)!r}], standalone_mode=False)\n"
        "print('imported', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "2 of 2 trials" in done.stdout
    imported = set(done.stdout.rsplit("imported", 1)[1].split())
    assert not imported & {"torch", "timm", "optuna", "numpy", "pydantic"}


def test_baselines_are_told_as_they_ended_last(finished: Path) -> None:
    assert study_status(finished)["baselines"] == []
    lost = BaselineRecord(name="timm:x", state=TrialState.LOST, reason="its process died: SIGKILL")
    other = BaselineRecord(name="y", state=TrialState.FAILED, reason="cannot be built")
    done = BaselineRecord(name="timm:x", state=TrialState.COMPLETE, constraints={"params": 0.5})
    RunFolder(finished).write_baselines([lost, other, done])
    first, second = study_status(finished)["baselines"]
    assert (first["name"], first["state"], first["within_budget"]) == ("timm:x", "COMPLETE", False)
    assert (second["name"], second["reason"]) == ("y", "cannot be built")
