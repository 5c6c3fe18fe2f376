"""`search run` in this process: settings, results and exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from running import run
from tiny import BASELINE, STUDY, write_images, write_study

from metaformer.yaml_tree import read_yaml
from search.cli import main
from search.evaluation.evaluator import CandidateEvaluator
from search.storage.records import TrialRecord, TrialState


def test_a_run_ends_with_a_table_and_its_files() -> None:
    result = run(str(write_study()), "--trials", "2")
    assert result.exit_code == 0, result.output
    assert "tiny: 2 of 2 trials (2 COMPLETE)" in result.output
    assert "budget" in result.output
    assert "margin +" in result.output
    assert "test accuracy" in result.output
    assert "runs/tiny/best.yaml" in result.output
    assert "[2/2] trial" in result.output


def test_a_front_is_shown_by_the_run_and_by_its_status() -> None:
    text = STUDY.replace("budget: {train: 1}\n", "").replace(
        "trials: 3", "trials: 3, objective: {front: [accuracy, params]}"
    )
    result = run(str(write_study(text)))
    assert result.exit_code == 0, result.output
    assert "Front: no trial beats these in everything" in result.output
    assert "Most accurate" in result.output
    front = json.loads(Path("runs/tiny/summary.json").read_text())["front"]
    told = CliRunner().invoke(main, ["status", "runs/tiny"]).output
    assert "budget none" in told
    listed = told.partition("front, no trial beats these in everything:\n")[2].splitlines()
    for trial, line in zip(front, listed, strict=False):
        assert line.startswith(f"  trial {trial['trial']}, ")


def test_a_budget_of_latency_is_shown_with_its_margin() -> None:
    result = run(str(write_study(STUDY.replace("{train: 1}", "{latency: 60000}"))), "--trials", "1")
    assert result.exit_code == 0, result.output
    assert re.search(r"latency +│ [\d.]+ ms \[[\d.]+, [\d.]+\], PASS", result.output)
    assert re.search(r"budget of latency +│ 60000 ms, margin \+", result.output)
    assert re.search(r"COMPLETE  latency [\d.]+ ms \[", result.output)


def test_json_prints_the_summary_and_nothing_else_to_the_standard_output() -> None:
    result = run(str(write_study()), "--trials", "1", "--json")
    assert json.loads(result.stdout) == json.loads(Path("runs/tiny/summary.json").read_text())
    assert "trial 0" in result.stderr


def test_an_unreachable_budget_finishes_and_shows_the_nearest_miss() -> None:
    result = run(str(write_study()), "--budget-throughput", "1e9", "--trials", "2")
    assert result.exit_code == 3
    assert "No candidate met the budget (train 1000000000 images/s)." in result.output
    assert re.search(
        r"The closest reached train (at most )?\S+ images/s\. `search plan`", result.output
    )
    assert "Nearest miss" in result.output
    assert "images/s whatever the kernels, not measured" in " ".join(result.output.split())


def test_baselines_stand_beside_the_best_and_what_they_cannot_do_below() -> None:
    write_study(BASELINE, "mine.yaml")
    write_study(
        BASELINE.replace("kernel_size: 2, stride: 2", "kernel_size: 9, stride: 9"), "big.yaml"
    )
    asked = ("--baseline", "mine.yaml", "--baseline", "big.yaml", "--baseline", "mine.yaml")
    result = run(str(write_study()), "--trials", "1", *asked)
    assert result.exit_code == 0, result.output
    table = result.stdout[result.stdout.index("Next to the baselines") :]
    assert re.search(r"trial 0 +│ +\d+ PASS +│ 0\.\d{4}", table)
    assert re.search(r"mine.yaml +│ +\d+ PASS +│ 0\.\d{4} +│ 0\.\d{4}", table)
    assert "baseline big.yaml: FAILED: cannot be built: " in table
    assert "baseline mine.yaml misses" not in table
    assert "Traceback" not in result.output
    assert result.output.count("measured and trained as candidates are") == 2
    again = run(str(write_study()), "--trials", "1")
    assert "measured and trained as candidates are" not in again.output
    assert "Next to the baselines" in again.output


def test_baselines_are_shown_where_no_candidate_makes_the_budget_too() -> None:
    write_study(BASELINE, "mine.yaml")
    study = str(write_study(STUDY.replace("{train: 1}", "{params: 10}")))
    result = run(study, "--trials", "1", "--baseline", "mine.yaml")
    assert result.exit_code == 3, result.output
    assert "Nearest miss" in result.output
    assert re.search(
        r"baseline mine.yaml misses the budget: params: \d+ of 10 allowed", result.output
    )


def test_a_baseline_that_is_not_there_is_answered_at_once() -> None:
    result = run(str(write_study()), "--baseline", "timm:resnet5")
    assert result.exit_code == 2
    assert "search.baselines: timm:resnet5: timm has no such model" in result.output
    assert "did you mean" in result.output
    assert not Path("runs").exists()


@pytest.mark.usefixtures("rejecting")
def test_every_option_reaches_the_study() -> None:
    arguments = ["--budget-throughput", "5", "--mode", "infer", "--trials", "1", "--seed", "7"]
    arguments += ["--batch-size", "3", "--image-size", "16", "--precision", "bf16", "--epochs", "2"]
    arguments += ["--train-image-size", "8", "--threads", "2", "--device", "cpu", "--out", "there"]
    arguments += ["--data", "folder:pictures", "--inherit"]
    write_images(Path("pictures"), 4)
    try:
        result = run(*arguments)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert result.exit_code == 3, result.output
    study = read_yaml("there/pictures-infer5/study.yaml").plain()
    assert study["train"]["data"] == f"folder:{Path('pictures').resolve()}"
    assert study["budget"] == {"infer": 5.0}
    assert study["measure"] == {
        "device": "cpu",
        "threads": 2,
        "image_size": 16,
        "batch_size": 3,
        "precision": "bf16",
        "memory_format": "auto",
        "compile": False,
        "optimizer": "adamw",
    }
    assert study["train"]["image_size"] == 8
    assert study["train"]["epochs"] == 2
    assert study["train"]["inherit"] is True
    assert study["search"] == {
        "trials": 1,
        "halving": None,
        "trial_seconds": None,
        "objective": "accuracy",
        "seed": 7,
        "baselines": [],
    }


@pytest.mark.usefixtures("rejecting")
def test_the_same_name_with_another_space_is_refused_with_the_difference() -> None:
    run(str(write_study()), "--trials", "1")
    changed = write_study(STUDY.replace("[4, 6, 8]", "[4, 8]"))
    result = run(str(changed), "--trials", "1")
    assert result.exit_code == 2
    assert "space.stages[0].width.choice: was [4, 6, 8], now [4, 8]" in result.output
    assert run(str(changed), "--out", "elsewhere", "--trials", "1").exit_code == 3


@pytest.mark.usefixtures("rejecting")
def test_many_failures_have_their_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: CandidateEvaluator, spec: Any, record: TrialRecord) -> None:
        raise RuntimeError("always")

    monkeypatch.setattr(CandidateEvaluator, "evaluate", fail)
    result = run(str(write_study()), "--trials", "9")
    assert result.exit_code == 5
    assert "too many candidates failed:\n  5 × RuntimeError: always" in result.output
    assert result.output.count("× RuntimeError: always") == 1
    assert "tracebacks: runs/tiny/errors.log" in result.output


@pytest.mark.usefixtures("rejecting")
def test_others_at_work_on_the_machine_have_the_machines_exit_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def contaminated(self: CandidateEvaluator, spec: Any, record: TrialRecord) -> None:
        record.state, record.reason = TrialState.INTERRUPTED, "train: no valid sample"

    monkeypatch.setattr(CandidateEvaluator, "evaluate", contaminated)
    result = run(str(write_study()))
    assert result.exit_code == 4
    assert "error: others compute on cpu, and no valid measurement could be had" in result.output
    assert "When it is idle, continue: " in result.output


def test_a_counted_budget_has_a_nearest_miss_too() -> None:
    result = run(str(write_study(STUDY.replace("{train: 1}", "{params: 10}"))))
    assert result.exit_code == 3, result.output
    assert "No candidate met the budget (params 10)." in result.output
    assert "Nearest miss" in result.output
    assert "budget of params" in result.output


def test_candidates_that_made_the_budget_and_failed_are_not_said_to_have_missed_it() -> None:
    text = STUDY.replace("epochs: 1", "epochs: 1, learning_rate: 1.0e+30")
    result = run(str(write_study(text)), "--trials", "2")
    assert result.exit_code == 5, result.output
    assert "No candidate met the budget" not in result.output
    assert "× diverged: " in result.output
    assert "errors.log" not in result.output


def test_a_folder_with_brackets_in_its_name_is_printed_as_it_is() -> None:
    result = run(str(write_study()), "--trials", "1", "--out", "x[/y]")
    assert result.exit_code == 0, result.output
    assert "x[/y]/tiny/best.yaml" in result.output


@pytest.mark.usefixtures("rejecting")
def test_the_time_limit_reaches_the_loop() -> None:
    result = run(str(write_study()), "--time-limit", "0.000001")
    assert result.exit_code == 3, result.output
    assert "No candidate was tried (budget: train 1 images/s)." in result.output
    assert "The time limit ended the search. To resume: search" in result.output


@pytest.mark.usefixtures("rejecting")
def test_a_space_that_is_known_is_said_to_have_ended_the_search() -> None:
    result = run(str(write_study()), "--trials", "30")
    assert result.exit_code == 3, result.output
    assert "tiny: 18 of 30 trials" in result.output
    assert "it found no backbone in the space that is new" in result.output


@pytest.mark.usefixtures("rejecting")
def test_a_finished_study_says_that_nothing_was_left_to_try() -> None:
    words = (
        "the study was finished before, with 2 trials; nothing new was tried. For more: --trials"
    )
    first = run(str(write_study()), "--trials", "2")
    assert words not in first.output
    again = run(str(write_study()), "--trials", "2")
    assert words in again.output
    assert again.exit_code == first.exit_code
    assert words not in run(str(write_study()), "--trials", "3").output
