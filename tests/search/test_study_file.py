from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import STUDY, write_study

from metaformer import SpecError
from metaformer.yaml_tree import write_yaml
from search.errors import UsageError
from search.study_config import Study, differences
from search.study_file import load_study

GOLDEN = Path(__file__).parents[1] / "golden"


def load(text: str | None = None, device: str = "cpu", **overrides: Any) -> Study:
    file = write_study(text) if text is not None else None
    return load_study(file, overrides, device=device)


def test_the_default_study_of_a_cpu_is_the_golden_one() -> None:
    study = load(budget={"train": 900})
    assert write_yaml(study.to_data()) == (GOLDEN / "study.yaml").read_text()


def test_on_cuda_the_defaults_are_those_of_the_study() -> None:
    measured = load(device="cuda:0", budget={"train": 900}).config.measure
    assert (measured.image_size, measured.batch_size, measured.precision) == (224, 128, "tf32")
    assert measured.device == "cuda:0"


def test_the_study_file_overrides_the_defaults_and_the_command_line_the_file() -> None:
    study = load(STUDY, search={"trials": 7}, train={"epochs": 2})
    config = study.config
    assert config.name == "tiny"
    assert config.search.trials == 7
    assert config.train.epochs == 2
    assert config.measure.batch_size == 4
    assert config.measure.precision == "fp32"


def test_a_space_replaces_the_default_space_as_a_whole() -> None:
    assert len(load(STUDY).space.plain()["stages"]) == 1


def test_what_is_trained_follows_what_is_measured_where_nothing_is_said() -> None:
    assert load(budget={"train": 900}, measure={"image_size": 48}).config.train.image_size == 48
    both = load(budget={"train": 900}, measure={"image_size": 48}, train={"image_size": 32})
    assert both.config.train.image_size == 32


@pytest.mark.parametrize(
    ("data", "budget", "name"),
    [
        ("digits", {"train": 900}, "digits-train900"),
        ("digits", {"infer": 2900.5}, "digits-infer2900.5"),
        (
            "folder:/data/my images",
            {"train": 900, "params": 1000000},
            "my-images-train900-params1000000",
        ),
        ("timm:torch/cifar10@/data", {"train": 1}, "cifar10-train1"),
    ],
)
def test_a_study_without_a_name_is_named_by_what_was_asked(
    data: str, budget: dict[str, float], name: str
) -> None:
    assert load(budget=budget, train={"data": data}).config.name == name


def test_folders_are_remembered_by_their_whole_path() -> None:
    study = load(budget={"train": 900}, train={"data": "folder:pictures"})
    assert study.config.train.data == f"folder:{Path('pictures').resolve()}"


def test_without_a_budget_there_is_no_study() -> None:
    with pytest.raises(UsageError, match="a budget is needed: --budget-throughput N"):
        load()


def test_a_study_written_and_read_is_the_same_study() -> None:
    study = load(STUDY)
    again = load(write_yaml(study.to_data()))
    assert again.config == study.config
    assert again.space.plain() == study.space.plain()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("batch_size: 4", "batch_size: four", "tiny.yaml:4:38: measure.batch_size: got 'four'"),
        (
            "batch_size: 4",
            "batchsize: 4",
            "tiny.yaml:4:26: measure.batchsize: unknown key; allowed:",
        ),
        ("budget: {train: 1}", "budget: {train: -1}", "tiny.yaml:3:17: budget.train: got -1"),
        ("budget: {train: 1}", "budget: {train: .nan}", "budget.train: got nan; allowed: finite"),
        ("budget: {train: 1}", "budget: {trian: 1}", "budget.trian: unknown key; allowed: train,"),
        ("trials: 3", "trials: 0", "search.trials: got 0; allowed: integers from 1 up"),
        ("trials: 3", "objective: f1", "search.objective: got 'f1'; allowed: accuracy"),
        (
            "search:",
            "serach:",
            "serach: unknown key; allowed: schema, name, budget, measure, train,",
        ),
        ("name: tiny", "name: a/b", "name: got 'a/b'"),
        (
            "measure: {image_size: 8,",
            "measure: {precision: fp16,",
            "measure: precision: got fp16 on",
        ),
        ("schema: 1", "schema: 7", "schema: got 7; allowed: 1"),
    ],
)
def test_a_mistake_is_answered_with_its_place(old: str, new: str, expected: str) -> None:
    assert old in STUDY
    with pytest.raises(SpecError) as caught:
        load(STUDY.replace(old, new, 1))
    assert expected in str(caught.value)


def test_a_mistake_on_the_command_line_is_said_to_be_there() -> None:
    with pytest.raises(SpecError, match="command line: budget.train: got nan"):
        load(budget={"train": float("nan")})


def test_a_backbone_in_place_of_a_study_is_recognised() -> None:
    with pytest.raises(SpecError, match="this is a backbone; a study holds it under space"):
        load("name: x\nstages: []\n")


def test_a_missing_study_file_and_a_list_are_refused() -> None:
    with pytest.raises(UsageError, match="none.yaml: no such study file"):
        load_study("none.yaml", {}, device="cpu")
    with pytest.raises(SpecError, match="a study must be a map"):
        load("- 1\n")


def test_differences_name_path_old_and_new_value() -> None:
    old = {"a": 1, "b": {"c": [1, 2]}, "gone": 0}
    new = {"a": 1, "b": {"c": [1, 3]}, "d": 4}
    assert differences(old, new) == [
        "b.c[1]: was 2, now 3",
        "gone: was 0, now None",
        "d: was None, now 4",
    ]
    assert differences({"a": [1]}, {"a": [1, 2]}) == ["a: was [1], now [1, 2]"]
    assert differences(old, old) == []


def test_the_device_is_the_files_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def require(name: str) -> str:
        asked.append(name)
        return "cuda:1" if name.startswith("cuda") else "cpu"

    monkeypatch.setattr("search.study_file.require_device", require)
    on_gpu = STUDY.replace("measure: {", "measure: {device: 'cuda:1', ")
    assert load_study(write_study(on_gpu), {}).config.measure.device == "cuda:1"
    assert load_study(write_study(on_gpu), {}, device="cpu").config.measure.device == "cpu"
    assert load_study(write_study(), {}).config.measure.device == "cpu"
    assert asked == ["cuda:1", "auto"]
    with pytest.raises(SpecError, match="measure.device: got 'gpu'; allowed: auto, cpu, cuda"):
        load_study(write_study(on_gpu.replace("cuda:1", "gpu")), {})
