"""`search plan`: text, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from previewing import InPreview, Preview
from tiny import STUDY, write_study

from search.cli import main
from search.study.runner import StudyRunner


@pytest.fixture(autouse=True)
def preview(monkeypatch: pytest.MonkeyPatch) -> Preview:
    made = Preview()
    executor = InPreview(made, lambda *_error: None)
    monkeypatch.setattr(StudyRunner, "executor", lambda _self, _folder: executor)
    return made


def plan(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["plan", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_a_plan_is_told_in_lines() -> None:
    result = plan(str(write_study()), "--trials", "40", "--measurements", "12")
    assert result.exit_code == 0, result.output
    for words in (
        "tiny: budget train 1 images/s, seed 0",
        "space: 18 combinations of choices",
        "2 mixers of metaformer-search",
        "of 100 candidates drawn, 0 cannot be built; ",
        " of 12 measured meet it: ",
        "share of what can be built that meets the budget: ",
        " at 95%, speeds predicted within train ",
        "  stages.0.width: 8: 0 of ",
        "a measurement takes 2.0 s; a training of 1 epochs 10.0 s, scaled from some steps of 3",
        "  40 trials: about ",
        "runs/tiny will be made: study.yaml, ",
    ):
        assert words in result.stdout
    assert not Path("runs").exists()


def test_json_is_one_object_and_nothing_else() -> None:
    result = plan(str(write_study()), "--json")
    candidates = json.loads(result.stdout)["candidates"]
    assert candidates["measured"] == 12  # all that may meet the budget
    assert candidates["prediction_errors"].keys() == {"train"}


def test_its_options_are_those_of_run() -> None:
    of_run = {option for p in main.commands["run"].params for option in p.opts}
    of_plan = {option for p in main.commands["plan"].params for option in p.opts}
    assert of_run - of_plan == {"--time-limit"}
    assert of_plan - of_run == {"--measurements"}


def test_nothing_feasible_is_exit_code_3_with_the_nearest_miss(preview: Preview) -> None:
    preview.largest_width = 3
    result = plan(str(write_study()))
    assert result.exit_code == 3
    assert "nearest miss: " in result.stdout
    assert "params: too many" in result.stdout


def test_what_run_refuses_is_refused_with_its_exit_code() -> None:
    missing = plan("gone.yaml")
    assert (missing.exit_code, "no such study file" in missing.output) == (2, True)
    wrong = plan(str(write_study(STUDY.replace("epochs: 1", "epochs: none"))))
    assert (wrong.exit_code, "train.epochs" in wrong.output) == (2, True)
    device = plan(str(write_study()), "--device", "cuda:7")
    assert (device.exit_code, "device: got cuda:7; allowed: auto, cpu" in device.output) == (
        4,
        True,
    )


def test_ctrl_c_ends_it_with_130(preview: Preview, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(preview, "measure_only", interrupt)
    result = plan(str(write_study()))
    assert result.exit_code == 130
    assert "Interrupted; nothing was written. Again: " in result.output
    assert preview.asked[-1] == "close"
