"""`search run` with a recipe of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner
from consent import agree
from running import run
from tiny import write_study

from metaformer.yaml_tree import read_yaml
from search.cli import main

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
    agree()
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
    agree()
    arguments = (str(write_study()), "--trainer", "mine")
    assert run(*arguments, "--trials", "1").exit_code == 0
    Path("recipes.py").write_text(TRAINER.format(winner=4))
    agree()
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
    agree()
    result = run(str(write_study()), "--trainer", "mine")
    assert result.exit_code == 4
    assert "trainer local/mine" in result.output
    assert not Path("runs").exists()


def test_what_a_trainer_raises_fails_the_trial_with_its_name() -> None:
    Path("plugins.toml").write_text(TRAINERS)
    Path("recipes.py").write_text("def train(model, data, config, context):\n    1 / 0\n")
    agree()
    run(str(write_study()), "--trials", "1", "--trainer", "mine")
    record = json.loads(Path("runs/tiny/trials.jsonl").read_text().splitlines()[0])
    assert record["state"] == "FAILED"
    assert record["reason"].startswith("TrainerError: trainer local/mine (local ")
    assert "ZeroDivisionError: division by zero, at " in record["reason"]
    assert record["reason"].endswith("recipes.py:2 in train: 1 / 0")


def test_a_trainer_that_has_changed_is_told_before_a_trial_is_run_again() -> None:
    Path("plugins.toml").write_text(TRAINERS)
    Path("recipes.py").write_text(TRAINER.format(winner=3))
    agree()
    assert run(str(write_study()), "--trials", "1", "--trainer", "mine").exit_code == 0
    Path("recipes.py").write_text(TRAINER.format(winner=4))
    agree()
    result = CliRunner().invoke(main, ["rerun", "runs/tiny", "0"])
    assert result.exit_code == 4, result.output
    assert "the trainer of this study has changed since it began" in result.output
    result = CliRunner().invoke(main, ["rerun", "runs/tiny", "0", "--allow-drift"])
    assert "changed since the study began: trainer.files: was " in result.output
