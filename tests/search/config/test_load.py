from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny import STUDY, write_study

from metaformer import SpecError
from metaformer.yaml_tree import write_yaml
from search.config.differences import differences
from search.config.load import load_study
from search.config.study import Study
from search.errors import EnvironmentProblem, UsageError

GOLDEN = Path(__file__).parents[2] / "golden"


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


def test_precisions_that_the_gpu_lacks_are_refused_at_their_place_and_no_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("search.devices.compute_capability", lambda _device: (7, 5))
    config = load(device="cuda:0", budget={"train": 900}).config
    assert (config.measure.precision, config.train.precision) == ("fp32", "fp32")
    text = STUDY.replace("batch_size: 4}", "batch_size: 4, precision: bf16}")
    with pytest.raises(SpecError) as caught:
        load(text, device="cuda:0")
    assert "measure.precision: got bf16 on a CUDA device" in str(caught.value)
    assert "allowed below 8.0: fp32, fp16" in str(caught.value)
    with pytest.raises(SpecError, match="--precision: got tf32 on a CUDA device of compute"):
        load(device="cuda:0", budget={"train": 900}, measure={"precision": "tf32"})
    with pytest.raises(SpecError, match="measure.precision: got 3"):
        load(text.replace("precision: bf16", "precision: 3"), device="cuda:0")
    assert load(text, device="cpu").config.measure.precision == "bf16"


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
            "folder:my images",
            {"train": 900, "params": 1000000},
            "my-images-train900-params1000000",
        ),
        ("timm:torch/cifar10@.", {"train": 1}, "cifar10-train1"),
    ],
)
def test_a_study_without_a_name_is_named_by_what_was_asked(
    data: str, budget: dict[str, float], name: str
) -> None:
    Path("my images").mkdir()
    assert load(budget=budget, train={"data": data}).config.name == name


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("hybrids_at_900.yaml", "hybrids_at_900"),
        ("studies/größe 2.v1.yaml", "gr--e-2.v1"),
        ("_.yaml", "study"),
        (f"{'x' * 120}.yaml", "x" * 100),
    ],
)
def test_a_study_file_without_a_name_gives_its_own(file: str, name: str) -> None:
    Path("studies").mkdir()
    path = write_study(STUDY.replace("name: tiny\n", ""), file)
    study = load_study(path, {"budget": {"train": 900}}, device="cpu")
    assert study.config.name == name


def test_folders_are_remembered_by_their_whole_path() -> None:
    Path("pictures").mkdir()
    study = load(budget={"train": 900}, train={"data": "folder:pictures"})
    assert study.config.train.data == f"folder:{Path('pictures').resolve()}"


def test_without_a_budget_there_is_no_study() -> None:
    with pytest.raises(UsageError, match="a budget is needed: --budget-throughput N"):
        load()


@pytest.mark.parametrize("budget", ["budget: {train: 1}\n", "budget: {}\n", ""])
def test_a_front_needs_no_budget(budget: str) -> None:
    front = STUDY.replace("trials: 3", "trials: 3, objective: {front: [accuracy, train, macs]}")
    config = load(front.replace("budget: {train: 1}\n", budget)).config
    assert config.search.axes == ("accuracy", "train", "macs")
    assert config.speeds == {"train": 1 if "1" in budget else None}


def test_a_latency_is_measured_as_the_images_that_come_one_at_a_time() -> None:
    config = load(STUDY.replace("{train: 1}", "{latency: 4, infer: 7}")).config
    assert config.speeds == {"infer": 7, "latency": 250}


@pytest.mark.parametrize("objective", ["accuracy", "{front: [accuracy, latency]}"])
def test_a_study_written_and_read_is_the_same_study(objective: str) -> None:
    study = load(STUDY.replace("trials: 3", f"trials: 3, objective: {objective}"))
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
            "trials: 3",
            "objective: {frnt: [accuracy]}",
            "tiny.yaml:6:21: search.objective: got {frnt: ['accuracy']}; allowed: accuracy, or "
            "front: [accuracy, ...] of accuracy and one or more of train, infer, latency, memory, ",
        ),
        (
            "trials: 3",
            "objective: {front: [accuracy, lateny]}",
            "tiny.yaml:6:40: search.objective.front[1]: got 'lateny'; allowed: accuracy and one or "
            "more of train, infer, latency, memory, params, macs; did you mean latency?",
        ),
        (
            "trials: 3",
            "objective: {front: [train, macs]}",
            "search.objective.front: got ['train', 'macs']; allowed: accuracy and one or more of",
        ),
        (
            "trials: 3",
            "objective: {front: [accuracy, macs, macs]}",
            "search.objective.front[2]: macs is there twice; allowed: each name once",
        ),
        (
            "trials: 3",
            "objective: {front: accuracy}",
            "search.objective.front: got 'accuracy'; a list is needed, allowed: accuracy and one",
        ),
        (
            "trials: 3",
            "trials: 3, halving: 3, objective: {front: [accuracy, macs]}",
            "search.halving: got 3 next to a front, whose trials must be trained alike; allowed: ",
        ),
        ("{train: 1}", "{latency: 0}", "budget.latency: got 0; allowed: "),
        (
            "search:",
            "serach:",
            "serach: unknown key; allowed: schema, name, budget, measure, train,",
        ),
        (
            "name: tiny",
            "name: a/b",
            "tiny.yaml:2:7: name: got 'a/b'; allowed: at most 100 of a-z, A-Z, 0-9, _, . and -, "
            "beginning with a letter or digit; did you mean a-b?",
        ),
        ("name: tiny", "name: .tiny", "did you mean tiny?"),
        ("{train: 1}", "{}", "tiny.yaml:3:9: budget: limits nothing; allowed: one or more of"),
        (
            "image_size: 8,",
            "image_size: 8, precision: tf32,",
            "tiny.yaml:4:37: measure.precision: got tf32 on a CPU; allowed: fp32, bf16",
        ),
        (
            "data: digits",
            "data: digts",
            "tiny.yaml:5:15: train.data: got 'digts'; allowed: digits, folder:PATH, timm:NAME or "
            "timm:NAME@ROOT; did you mean digits?",
        ),
        (
            "data: digits",
            "data: 'folder:nowhere'",
            "tiny.yaml:5:15: train.data: got 'folder:nowhere'; no such folder: nowhere",
        ),
        ("schema: 1", "schema: 7", "schema: got 7; allowed: 1"),
        (
            "data: digits",
            "data: digits, optimizer: adamww",
            "tiny.yaml:5:34: train.optimizer: got adamww: timm has no such optimizer; allowed: ",
        ),
        (
            "data: digits",
            "data: digits, warm_up_epochs: 2",
            "tiny.yaml:5:39: train.warm_up_epochs: got 2; allowed: less than the 1 epochs",
        ),
        (
            "data: digits",
            "data: digits, augmentation: {shfit: 0.1}",
            "train.augmentation.shfit: unknown key; allowed: shift, smallest_crop, mirror, color, "
            "erase, mixup, cutmix; did you mean shift?",
        ),
        (
            "data: digits",
            "data: digits, augmentation: {shift: 0.9}",
            "train.augmentation.shift: got 0.9; allowed: ",
        ),
        (
            "search:",
            "trainer: mine\nsearch:",
            "tiny.yaml:6:1: trainer: is written by `search run`; train.trainer names a trainer",
        ),
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


def test_data_of_the_command_line_are_named_by_their_option() -> None:
    with pytest.raises(SpecError) as caught:
        load(STUDY, train={"data": "cifar10"})
    assert str(caught.value) == (
        "--data: got 'cifar10'; allowed: digits, folder:PATH, timm:NAME or timm:NAME@ROOT"
        "; did you mean timm:torch/cifar10?"
    )


def test_what_is_wrong_with_the_data_is_said_with_all_the_rest() -> None:
    with pytest.raises(SpecError) as caught:
        load(STUDY.replace("digits", "digts").replace("epochs: 1", "epochs: 0"))
    paths = [problem.path for problem in caught.value.problems]
    assert sorted(paths) == ["train.data", "train.epochs"]


def test_data_that_may_not_be_seen_are_the_machines_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_text: str) -> None:
        raise PermissionError(13, "Permission denied", "/root/x")

    monkeypatch.setattr("search.config.load.read_source", refuse)
    words = "tiny.yaml:5:15: train.data: /root/x: permission denied"
    with pytest.raises(EnvironmentProblem, match=words):
        load(STUDY)
    with pytest.raises(EnvironmentProblem, match="^--data: /root/x: permission denied"):
        load(STUDY, train={"data": "folder:/root/x"})


def test_a_throughput_asked_for_replaces_the_files_and_leaves_its_counts() -> None:
    text = STUDY.replace("{train: 1}", "{train: 900, params: 1000000, macs: 5000000}")
    budget = load(text, budget={"infer": 500.0}).config.budget.given()
    assert budget == {"infer": 500.0, "params": 1000000, "macs": 5000000}
    assert load(text, budget={"train": 2.0}).config.budget.train == 2.0
    assert load(text, budget={"macs": 7}).config.budget.given() == {
        "train": 900.0,
        "params": 1000000,
        "macs": 7,
    }


def test_a_backbone_in_place_of_a_study_is_recognised() -> None:
    with pytest.raises(SpecError, match="this is a backbone; a study holds it under space"):
        load("name: x\nstages: []\n")


def test_a_missing_study_file_and_a_list_are_refused() -> None:
    with pytest.raises(UsageError, match="none.yaml: no such study file"):
        load_study("none.yaml", {}, device="cpu")
    write_study()
    with pytest.raises(UsageError, match="tinny.yaml: no such study file; did you mean tiny.yaml?"):
        load_study("tinny.yaml", {}, device="cpu")
    Path("runs").mkdir()
    write_study(name="runs/study.yaml")
    with pytest.raises(UsageError, match="runs: got a folder; .* did you mean runs/study.yaml?"):
        load_study("runs", {}, device="cpu")
    with pytest.raises(SpecError, match="a study must be a map"):
        load("- 1\n")


def test_differences_name_path_old_and_new_value() -> None:
    old = {"a": 1, "b": {"c": [1, 2]}, "gone": 0}
    new = {"a": 1, "b": {"c": [1, 3]}, "d": 4}
    assert differences(old, new) == [
        "b.c[1]: was 2, now 3",
        "gone: was 0, now absent",
        "d: was absent, now 4",
    ]
    assert differences(old, old) == []


def test_lists_of_different_lengths_differ_by_their_items() -> None:
    old = {"stages": [{"depth": 1}, {"depth": 2, "norm": None}]}
    new = {"stages": [{"depth": 3}, {"depth": 2, "norm": True}, {"depth": 4, "gated": False}]}
    assert differences(old, new) == [
        "stages[0].depth: was 1, now 3",
        "stages[1].norm: was null, now true",
        'stages[2]: was absent, now {"depth": 4, "gated": false}',
    ]
    assert differences([[1], [2]], [[1]]) == ["[1]: was [2], now absent"]


def test_a_short_list_of_values_is_shown_whole() -> None:
    assert differences({"a": [1]}, {"a": [1, None]}) == ["a: was [1], now [1, null]"]
    many = list(range(100))
    assert differences({"a": many}, {"a": [*many, 7]}) == ["a[100]: was absent, now 7"]


def test_a_long_value_is_cut_to_where_it_differs() -> None:
    path = "folder:/" + "very/" * 30
    (line,) = differences({"a": f"{path}one"}, {"a": f"{path}other" + "x" * 100})
    assert line == 'a: was ...ery/very/one", now ...ery/very/other' + "x" * 40 + "..."
    (line,) = differences({"a": 1}, {"a": "y" * 100})
    assert line == 'a: was 1, now "' + "y" * 56 + "..."


def test_the_device_is_the_files_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def require(name: str) -> str:
        asked.append(name)
        return "cuda:1" if name.startswith("cuda") else "cpu"

    monkeypatch.setattr("search.config.load.require_device", require)
    on_gpu = STUDY.replace("measure: {", "measure: {device: 'cuda:1', ")
    assert load_study(write_study(on_gpu), {}).config.measure.device == "cuda:1"
    assert load_study(write_study(on_gpu), {}, device="cpu").config.measure.device == "cpu"
    assert load_study(write_study(), {}).config.measure.device == "cpu"
    assert asked == ["cuda:1", "auto"]
    with pytest.raises(SpecError, match="measure.device: got 'gpu'; allowed: auto, cpu, cuda"):
        load_study(write_study(on_gpu.replace("cuda:1", "gpu")), {})


def test_a_baseline_that_is_a_file_lies_beside_the_study_or_where_the_command_was_given() -> None:
    Path("studies").mkdir()
    for file in ("studies/own.yaml", "here.yaml"):
        Path(file).touch()
    names = "[own.yaml, inceptionnext_t, 'timm:resnet50', gone.yaml]"
    text = STUDY.replace("trials: 3", f"trials: 3, baselines: {names}")
    file = write_study(text, "studies/tiny.yaml")
    own = str(Path("studies/own.yaml").resolve())
    found = load_study(file, {}, device="cpu").config.search.baselines
    assert found == (own, "inceptionnext_t", "timm:resnet50", "gone.yaml")
    said = {"search": {"baselines": ["here.yaml", "own.yaml"]}}
    found = load_study(file, said, device="cpu").config.search.baselines
    assert found == (str(Path("here.yaml").resolve()), "own.yaml")


def test_baselines_that_are_no_names_are_refused_at_their_place() -> None:
    with pytest.raises(SpecError, match=r"tiny.yaml:6:.*search.baselines\[0\]"):
        load(STUDY.replace("trials: 3", "trials: 3, baselines: [7]"))
    with pytest.raises(SpecError, match=r"tiny.yaml:6:.*search.baselines"):
        load(STUDY.replace("trials: 3", "trials: 3, baselines: inceptionnext_t"))


def test_every_section_that_is_no_map_is_named_in_the_order_of_the_lines() -> None:
    Path("study.yaml").write_text("schema: 1\ntrain: 1\nsearch: x\nbudget: [1]\n")
    with pytest.raises(SpecError) as caught:
        load_study("study.yaml", {}, device="cpu")
    assert [problem.path for problem in caught.value.problems] == ["train", "search", "budget"]
