"""`search run` in this process: settings, results, exit codes and bad input."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from tiny import BASELINE, STUDY, write_study

from metaformer.yaml_tree import read_yaml
from search.candidate import CandidateEvaluator
from search.cli import main
from search.records import TrialRecord, TrialState
from search.study import StudyRunner


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def rejecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every candidate misses its budget, at no cost."""

    def evaluate(self: CandidateEvaluator, spec: Any, record: TrialRecord) -> None:
        record.spec, record.digest = spec.to_data(), spec.digest
        record.params = record.macs = 1
        record.state, record.constraints["throughput.train"] = TrialState.REJECTED, 0.5
        figures = dict.fromkeys(("images_per_second", "low", "high"), 0.5)
        record.measurements.append({"mode": "train", "verdict": "FAIL", **figures})

    monkeypatch.setattr(CandidateEvaluator, "evaluate", evaluate)


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
    assert "No candidate made the budget (train 1e+09)." in result.output
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
    table = result.stdout[result.stdout.index("Beside the baselines") :]
    assert re.search(r"trial 0 +│ +\d+ PASS +│ 0\.\d{4}", table)
    assert re.search(r"mine.yaml +│ +\d+ PASS +│ 0\.\d{4} +│ 0\.\d{4}", table)
    assert "baseline big.yaml: FAILED: cannot be built: " in table
    assert "baseline mine.yaml misses" not in table
    assert "Traceback" not in result.output
    assert result.output.count("measured and trained as candidates are") == 2
    again = run(str(write_study()), "--trials", "1")
    assert "measured and trained as candidates are" not in again.output
    assert "Beside the baselines" in again.output


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
    make_images(Path("pictures"), 4)
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
    assert "too many candidates failed:\n  6 × RuntimeError: always" in result.output
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
    assert "When it is idle, go on: " in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ([], 2, "a budget is needed: --budget-throughput N"),
        (["--budget-throughput", "0"], 2, "got '0'; allowed: images/s above 0"),
        (["--budget-throughput", "-3"], 2, "got '-3'; allowed: images/s above 0"),
        (["--budget-throughput", "nan"], 2, "got 'nan'; allowed: images/s above 0"),
        (["--budget-throughput", "many"], 2, "got 'many'; allowed: images/s above 0"),
        (["--budget-throughput", "9", "--device", "gpu"], 2, "got 'gpu'; allowed: auto, cpu, cuda"),
        (
            ["--budget-throughput", "9", "--device", "cuda:99"],
            4,
            "device: got cuda:99; allowed: auto, cpu",
        ),
        (["tiny.yaml", "--devices", "99"], 4, "error: device: got cuda:99; allowed: auto, cpu"),
        (["tiny.yaml", "--devices", "3-1"], 2, "got '3-1'; allowed: CUDA devices, such as 0-3"),
        (["tiny.yaml", "--devices", "0", "--device", "cpu"], 2, "give one of both"),
        (["tiny.yaml", "--workers", "0"], 2, "0 is not in the range x>=1"),
        (["--budget-throughput", "9", "--data", "digit"], 2, "error: --data: got 'digit'; allowed"),
        (["--budget-throughput", "9", "--data", "folder:no"], 2, "no such folder: no"),
        (["--budget-throughput", "9", "--time-limit", "soon"], 2, "such as 90s, 15m, 2h"),
        (["--budget-throughput", "9", "--trials", "0"], 2, "0 is not in the range x>=1"),
        (
            ["--budget-throughput", "9", "--precision", "fp16", "--device", "cpu"],
            2,
            "got fp16 on a CPU",
        ),
        (["none.yaml"], 2, "none.yaml: no such study file"),
        (["tiny.yml"], 2, "tiny.yml: no such study file; did you mean tiny.yaml?"),
        (["--budget-throughput", "9", "--out", "/proc/none"], 4, "/proc/none"),
        (["--budget-throughput", "9", "--plugins", "no.toml"], 2, "no.toml: no such file"),
    ],
)
def test_a_bad_setting_is_one_message_and_a_documented_exit_code(
    arguments: list[str], code: int, expected: str
) -> None:
    write_study()
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert expected in result.output


@pytest.mark.parametrize(
    "arguments",
    [["none.yaml"], ["--data", "digts"], ["--plugins", "none.toml"], ["--data", "folder:none"]],
)
def test_a_slip_is_answered_before_torch_is_imported(arguments: list[str]) -> None:
    without_torch = "import sys; sys.modules['torch'] = None; from search.cli import main; main()"
    command = [sys.executable, "-c", without_torch, "run", "--budget-throughput", "9", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "[identity, pooling]",
            "[identity, poling]",
            "tiny.yaml:13:34: stages[0].mixer: got poling",
        ),
        ("[4, 6, 8]", "[4, six]", "tiny.yaml:11:27: stages[0].width: got 'six'; allowed: integer"),
        ("stem:", "stme:", "tiny.yaml:8:3: stme: unknown key"),
        ("width:", "{", "tiny.yaml:"),
    ],
)
def test_a_bad_study_file_is_one_message_with_its_place(old: str, new: str, expected: str) -> None:
    result = run(str(write_study(STUDY.replace(old, new))))
    assert result.exit_code == 2, result.output
    assert expected in result.output
    assert not Path("runs/tiny/study.yaml").exists()


def make_images(root: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        for name in ("a", "b"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")


@pytest.mark.usefixtures("rejecting")
@pytest.mark.parametrize(
    ("spoil", "code", "expected"),
    [
        (lambda root: None, 3, "No candidate made the budget"),
        (
            lambda root: (root / "train" / "a" / "0.png").write_bytes(b"x"),
            3,
            "skipped 1 unreadable images: ",
        ),
        (
            lambda root: [(root / "train" / "a" / f"{i}.png").write_bytes(b"x") for i in range(4)],
            2,
            "4 of 240 images cannot be read",
        ),
        (lambda root: (root / "train" / "c").mkdir(), 2, "no images of class c in "),
        (
            lambda root: [file.unlink() for file in root.rglob("*.png")],
            2,
            "no images of class a in ",
        ),
    ],
)
def test_data_that_cannot_be_used_are_named(
    spoil: Callable[[Path], object], code: int, expected: str
) -> None:
    make_images(Path("pictures"), 40)
    spoil(Path("pictures"))
    text = STUDY.replace("data: digits", "data: 'folder:pictures'")
    result = run(str(write_study(text)), "--trials", "1")
    assert result.exit_code == code, result.output
    assert expected in " ".join(result.output.split())


@pytest.mark.usefixtures("rejecting")
@pytest.mark.parametrize(
    ("content", "arguments", "expected"),
    [
        (STUDY + "mixers: [pooling]\n", (), "tiny.yaml:16:1: mixers: is written by `search run`"),
        (STUDY + "mixers: 5\n", (), "tiny.yaml:16:1: mixers: is written by `search run`"),
        (STUDY + "data: digits\n", (), "tiny.yaml:16:1: data: is written by `search run`"),
        (STUDY.replace("search: {trials: 3}", "search:"), ("--trials", "1"), "search: got null;"),
        (STUDY.replace("budget: {train: 1}", "budget: 900"), (), "budget: got 900; allowed: a map"),
        (STUDY.replace("{train: 1}", "{train: null}"), (), "tiny.yaml:3:9: budget: limits nothing"),
        (STUDY.replace("batch_size: 256", "batch_size: 1"), (), "train.batch_size: got 1; allowed"),
        (STUDY, ("--mode", "infer"), "--mode says which step must reach --budget-throughput"),
    ],
)
def test_a_setting_that_would_vanish_is_refused(
    content: str, arguments: tuple[str, ...], expected: str
) -> None:
    result = run(str(write_study(content)), *arguments)
    assert result.exit_code == 2, result.output
    assert expected in result.output


def test_a_counted_budget_has_a_nearest_miss_too() -> None:
    result = run(str(write_study(STUDY.replace("{train: 1}", "{params: 10}"))))
    assert result.exit_code == 3, result.output
    assert "No candidate made the budget (params 10)." in result.output
    assert "Nearest miss" in result.output
    assert "budget of params" in result.output


def test_candidates_that_made_the_budget_and_failed_are_not_said_to_have_missed_it() -> None:
    text = STUDY.replace("epochs: 1", "epochs: 1, learning_rate: 1.0e+30")
    result = run(str(write_study(text)), "--trials", "2")
    assert result.exit_code == 5, result.output
    assert "No candidate made the budget" not in result.output
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
    assert "No candidate was tried (budget: train 1)." in result.output
    assert "The time limit ended the search. To go on: search" in result.output


@pytest.mark.usefixtures("rejecting")
def test_a_space_that_is_known_is_said_to_have_ended_the_search() -> None:
    result = run(str(write_study()), "--trials", "30")
    assert result.exit_code == 3, result.output
    assert "tiny: 18 of 30 trials" in result.output
    assert "it found no backbone in the space that is new" in result.output


TRAINER = """
def train(model, data, config, context):
    for epoch in context.epochs_left():
        model.head.fc.bias.data[{winner}] = 1e4
        context.end_epoch(model, 1.0, {{}})
"""
TRAINERS = 'schema = 1\n[trainers]\nmine = "recipes.py:train"\n'


def test_a_trainer_of_the_project_trains_and_is_on_record() -> None:
    Path("plugins.toml").write_text(TRAINERS)
    Path("recipes.py").write_text(TRAINER.format(winner=3))
    arguments = (str(write_study()), "--trials", "1", "--trainer", "mine")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "training is by trainer local/mine (local " in result.output
    study = read_yaml("runs/tiny/study.yaml").plain()
    assert study["train"]["trainer"] == "mine"
    assert study["trainer"]["name"] == "local/mine"
    assert study["trainer"]["entry_point"] == "recipes.py:train"
    record = json.loads(Path("runs/tiny/trials.jsonl").read_text().splitlines()[0])
    assert record["score"]["trainer"] == study["trainer"]
    assert run("runs/tiny/study.yaml").exit_code == 0  # the frozen study can be given again


def test_a_trainer_that_has_changed_stops_the_study() -> None:
    Path("plugins.toml").write_text(TRAINERS)
    Path("recipes.py").write_text(TRAINER.format(winner=3))
    arguments = (str(write_study()), "--trainer", "mine")
    assert run(*arguments, "--trials", "1").exit_code == 0
    Path("recipes.py").write_text(TRAINER.format(winner=4))
    result = run(*arguments, "--trials", "2")
    assert result.exit_code == 4
    assert "the trainer of this study has changed since it began" in result.output
    assert "trainer.files: was " in result.output
    assert run(*arguments, "--trials", "2", "--allow-drift").exit_code == 0
    assert run(*arguments, "--trials", "2").exit_code == 0  # from then on it is the new one


def test_an_unknown_trainer_is_a_mistake_and_a_broken_one_a_trouble() -> None:
    result = run(str(write_study()), "--trainer", "nobodys:train")
    assert result.exit_code == 2
    assert "train.trainer: got nobodys:train: no trainer" in result.output
    Path("plugins.toml").write_text(TRAINERS)
    Path("recipes.py").write_text("import nowhere_at_all")
    result = run(str(write_study()), "--trainer", "mine")
    assert result.exit_code == 4
    assert "trainer local/mine" in result.output
    assert not Path("runs").exists()


def test_what_a_trainer_raises_fails_the_trial_with_its_name() -> None:
    Path("plugins.toml").write_text(TRAINERS)
    Path("recipes.py").write_text("def train(model, data, config, context):\n    1 / 0\n")
    run(str(write_study()), "--trials", "1", "--trainer", "mine")
    record = json.loads(Path("runs/tiny/trials.jsonl").read_text().splitlines()[0])
    assert record["state"] == "FAILED"
    assert record["reason"].startswith("TrainerError: trainer local/mine (local ")
    assert record["reason"].endswith("ZeroDivisionError: division by zero")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[StudyRunner]:
    """The runners that were made, and did nothing; the machine has two CUDA devices."""
    made: list[StudyRunner] = []

    def run_nothing(self: StudyRunner, **_options: Any) -> dict[str, Any]:
        made.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(StudyRunner, "run", run_nothing)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "H100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    return made


@pytest.mark.parametrize(
    ("arguments", "devices"),
    [
        (["--device", "cpu"], ["cpu"]),
        (["--device", "cpu", "--workers", "2"], ["cpu", "cpu"]),
        (["--devices", "0-1"], ["cuda:0", "cuda:1"]),
        (["--devices", "cuda:1"], ["cuda:1"]),
        (["--devices", "1,0", "--workers", "3"], ["cuda:1", "cuda:0", "cuda:1"]),
        (["--workers", "2"], ["cuda:0", "cuda:0"]),
    ],
)
def test_workers_are_spread_over_the_devices(
    asked: list[StudyRunner], arguments: list[str], devices: list[str]
) -> None:
    result = run(str(write_study()), *arguments)
    assert result.exit_code == 130, result.output
    assert [str(device) for device in asked[0].worker_devices] == devices
    assert str(asked[0].device) == asked[0].study.config.measure.device == devices[0]


def test_fewer_workers_than_devices_are_a_mistake(asked: list[StudyRunner]) -> None:
    result = run(str(write_study()), "--devices", "0-1", "--workers", "1")
    assert result.exit_code == 2
    assert "error: --workers: got 1; allowed: 2 or more" in result.output
    assert not asked
