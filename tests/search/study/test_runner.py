"""A study in its folder: begun, taken up again, refused, concluded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from studies import CPU, Evaluate, Heard, reject, runner
from tiny import STUDY, write_study
from torch import Tensor

from metaformer import BackboneSpec, SpecError, build_backbone, load_spec
from mixers import MixerRegistry
from search.config.load import load_study
from search.config.study import Study
from search.data import load_data
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.storage.journal import exclusive
from search.storage.records import TrialRecord, TrialState
from search.storage.run_folder import RunFolder
from search.training import accuracy

GOLDEN = Path(__file__).parents[2] / "golden"


def test_the_whole_path_ends_with_a_backbone_that_reproduces_its_accuracy(
    registry: MixerRegistry,
) -> None:
    """Nothing replaced: real data, real measurement, real training, all files of the folder."""
    heard = Heard()
    summary = runner(registry, heard=heard).run()
    folder = Path("runs/tiny")
    assert sorted(path.name for path in folder.iterdir()) == json.loads(
        (GOLDEN / "run_folder.json").read_text()
    )
    assert summary["outcome"] == "done"
    assert summary["feasible"]
    assert summary["trials"]["counted"] == 3
    assert summary == json.loads((folder / "summary.json").read_text())
    best = summary["best"]
    config = load_study(folder / "study.yaml", {}, device="cpu").config
    model = build_backbone(load_spec(folder / "best.yaml", registry), registry)
    model.load_state_dict(load_file(folder / "best.safetensors"))
    data = load_data("digits", 8)
    assert accuracy(model, data.validation, config.train, device=CPU) == best["validation_accuracy"]
    assert accuracy(model, data.test, config.train, device=CPU) == best["test_accuracy"]
    measured = best["throughput"]["train"]
    assert measured["verdict"] == "PASS"
    assert measured["margin"] == pytest.approx(measured["images_per_second"] / 1 - 1)


def test_the_same_study_again_goes_on_to_its_total(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    runner(registry, search={"trials": 2}).run()
    heard = Heard()
    summary = runner(registry, heard=heard, search={"trials": 5}).run()
    assert len(heard.finished) == 3
    assert summary["trials"]["counted"] == 5
    again = Heard()
    runner(registry, heard=again, search={"trials": 5}).run()
    assert again.finished == []


def test_nothing_feasible_names_the_nearest_miss(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    summary = runner(registry, search={"trials": 4}).run()
    assert not summary["feasible"]
    assert summary["best"] is None
    lines = Path("runs/tiny/trials.jsonl").read_text().splitlines()
    assert summary["nearest_miss"]["trial"] == json.loads(lines[-1])["number"]
    assert summary["nearest_miss"]["throughput"]["train"]["margin"] < 0
    assert not Path("runs/tiny/best.yaml").exists()


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("width: {choice: [4, 6, 8]}", "width: {choice: [4, 6]}", "space.stages[0].width.choice"),
        ("train: 1}", "train: 2}", "budget.train: was 1.0, now 2.0"),
        ("batch_size: 4", "batch_size: 8", "measure.batch_size: was 4, now 8"),
        ("epochs: 1", "epochs: 2", "train.epochs: was 1, now 2"),
    ],
)
def test_another_study_of_the_same_name_is_refused_with_the_difference(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    old: str,
    new: str,
    difference: str,
) -> None:
    evaluate_by(reject)
    runner(registry).run()
    before = {path.name: path.read_bytes() for path in Path("runs/tiny").iterdir()}
    changed = load_study(write_study(STUDY.replace(old, new)), {}, device="cpu")
    with pytest.raises(UsageError, match="another study of this name") as caught:
        runner(registry, study=changed).run()
    assert difference in str(caught.value)
    assert {path.name: path.read_bytes() for path in Path("runs/tiny").iterdir()} == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ([("[4, 6, 8]", "[4, 6, 8, 12]")], True),
        ([("[identity, pooling]", "[identity, pooling, conv]"), ("[1, 2]", "[1, 2, 3]")], True),
        ([("[4, 6, 8]", "[4, 6, 8, 12]"), ("epochs: 1", "epochs: 2")], False),
    ],
)
def test_search_fork_is_named_if_only_the_space_differs(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    changes: list[tuple[str, str]],
    named: bool,
) -> None:
    evaluate_by(reject)
    runner(registry).run()
    text = STUDY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    changed = load_study(write_study(text), {}, device="cpu")
    with pytest.raises(UsageError, match="another study of this name") as caught:
        runner(registry, study=changed).run()
    words = f"search fork {Path('runs/tiny')} STUDY --name NAME"
    assert (words in str(caught.value)) is named


def test_a_mistake_is_told_before_the_name_of_another_study(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    runner(registry).run()
    misspelt = load_study(write_study(STUDY.replace("pooling", "poling")), {}, device="cpu")
    with pytest.raises(SpecError, match="got poling"):
        runner(registry, study=misspelt).run()
    with pytest.raises(UsageError, match="timm has no such model"):
        runner(registry, search={"baselines": ["timm:resnet5"]}, train={"epochs": 2}).run()


def test_a_study_from_before_a_setting_came_up_goes_on_with_its_default(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    runner(registry).run()
    file = Path("runs/tiny/study.yaml")
    old = yaml.safe_load(file.read_text())
    del old["search"]["halving"], old["train"]["inherit"], old["measure"]["optimizer"]
    file.write_text(yaml.safe_dump(old, sort_keys=False))
    assert runner(registry, search={"trials": 4}).run()["trials"]["counted"] == 4
    old["train"]["from_the_future"] = 1
    file.write_text(yaml.safe_dump(old, sort_keys=False))
    with pytest.raises(UsageError, match=r"train\.from_the_future: was 1, now absent"):
        runner(registry).run()


def test_two_processes_do_not_run_one_study(registry: MixerRegistry) -> None:
    Path("runs/tiny").mkdir(parents=True)
    with (
        exclusive(Path("runs/tiny/study.lock"), "busy"),
        pytest.raises(EnvironmentProblem, match="another process is running this study"),
    ):
        runner(registry).run()


def test_whoever_comes_second_leaves_the_folder_of_the_first_alone(
    registry: MixerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    create, first = RunFolder.create, ExitStack()

    def beaten(folder: RunFolder) -> None:
        create(folder)
        first.enter_context(exclusive(folder.lock, "the first is refused"))

    monkeypatch.setattr(RunFolder, "create", beaten)
    with first:
        with pytest.raises(EnvironmentProblem, match="another process is running this study"):
            runner(registry).run()
        assert Path("runs/tiny/study.lock").exists()


def test_the_mixers_are_frozen_into_the_study_and_a_missing_one_stops_it(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    runner(registry).run()
    frozen = load_study("runs/tiny/study.yaml", {}, device="cpu").frozen_mixers
    assert [mixer["name"] for mixer in frozen] == ["identity", "pooling"]
    without = {name: entry for name, entry in registry.entries.items() if name != "pooling"}
    with pytest.raises(
        EnvironmentProblem, match="  pooling: not installed\n.* search fork runs/tiny"
    ):
        runner(MixerRegistry(without, {})).run()


def test_a_mixer_installed_later_does_not_enter_a_study_under_way(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    text = STUDY.replace("mixer: {choice: [identity, pooling]}", "mixer: any")
    study = load_study(write_study(text), {}, device="cpu")
    few = {name: registry.entries[name] for name in ("identity", "large_kernel_dw", "pooling")}
    runner(MixerRegistry(few, {}), study=study).run()
    runner(registry, study=study, search={"trials": 12}).run()
    lines = [json.loads(line) for line in Path("runs/tiny/trials.jsonl").read_text().splitlines()]
    used = {BackboneSpec.model_validate(line["spec"]).stages[0].mixer[0].name for line in lines}
    assert used <= set(few)


def test_the_split_that_is_reported_is_seen_once_at_the_end(
    registry: MixerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_data("digits", 8)
    fetched: list[int] = []

    class Watched:
        def __len__(self) -> int:
            return len(data.test)

        def fetch(self, indices: Any) -> tuple[Tensor, Tensor]:
            fetched.append(len(heard.finished))
            return data.test.fetch(indices)

    watched = dataclasses.replace(data, test=Watched())
    monkeypatch.setattr("search.study.runner.load_data", lambda _name, _size: watched)
    heard = Heard()
    runner(registry, heard=heard).run()
    assert set(fetched) == {4}  # three candidates, and the best measured again


def test_data_that_changed_since_the_study_began_are_refused_with_the_difference(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None], monkeypatch: Any
) -> None:
    evaluate_by(reject)
    runner(registry).run()
    data = load_data("digits", 8)
    other = dataclasses.replace(data, class_names=tuple("abcdefghij"), fingerprint="0")
    monkeypatch.setattr("search.study.runner.load_data", lambda _name, _size: other)
    with pytest.raises(UsageError, match="digits has changed since runs/tiny began") as caught:
        runner(registry).run()
    assert 'data.classes[0]: was "0", now "a"' in str(caught.value)


def test_a_journal_whose_study_is_not_said_is_refused(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    runner(registry).run()
    Path("runs/tiny/study.yaml").write_text("- 1\n")
    with pytest.raises(EnvironmentProblem, match="is not what `search run` wrote"):
        runner(registry).run()
    Path("runs/tiny/study.yaml").write_text("schema: [1\n")
    with pytest.raises(EnvironmentProblem, match="restore it, or choose another --out\nruns/tiny"):
        runner(registry).run()
    Path("runs/tiny/study.yaml").unlink()
    with pytest.raises(EnvironmentProblem, match="holds a journal and no study.yaml"):
        runner(registry).run()


def test_a_study_whose_journal_is_gone_is_left_as_it_is(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    runner(registry).run()
    Path("runs/tiny/journal.log").unlink()
    before = {path.name: path.read_bytes() for path in Path("runs/tiny").iterdir()}
    with pytest.raises(EnvironmentProblem, match="journal.log is gone"):
        runner(registry).run()
    assert {path.name: path.read_bytes() for path in Path("runs/tiny").iterdir()} == before


def test_a_study_that_cannot_begin_says_one_thing_and_leaves_no_folder(
    registry: MixerRegistry,
) -> None:
    heard = Heard()
    with pytest.raises(SpecError, match="none of 50 candidates"):
        runner(registry, heard=heard, train={"image_size": 4}, study=unbuildable()).run()
    assert heard.notes == []
    assert not Path("runs").exists()
    Path("runs").mkdir()
    with pytest.raises(SpecError):
        runner(registry, study=unbuildable()).run()
    assert list(Path("runs").iterdir()) == []


def test_a_stop_while_the_space_is_read_is_heard(registry: MixerRegistry) -> None:
    with pytest.raises(Interrupted):
        runner(registry, should_stop=lambda: True).run()
    assert not Path("runs").exists()


def unbuildable() -> Study:
    text = STUDY.replace("kernel_size: 2, stride: 2", "kernel_size: 16, stride: 16")
    return load_study(write_study(text), {}, device="cpu")


def test_an_interrupt_while_the_test_split_is_scored_leaves_the_study_to_go_on(
    registry: MixerRegistry,
) -> None:
    heard = Heard()
    summary = runner(registry, heard=heard, should_stop=lambda: "test" in heard.phases).run()
    assert summary["outcome"] == "interrupted"
    assert summary["best"]["test_accuracy"] is None
    assert runner(registry).run()["best"]["test_accuracy"] is not None


def test_a_trial_that_was_stopped_goes_on_from_its_last_epoch(registry: MixerRegistry) -> None:
    overrides = {"train": {"epochs": 3}, "search": {"trials": 1}}
    study = load_study(write_study(), overrides, device="cpu")
    folder = Path("runs/tiny")
    whole = runner(registry, study=study).run()["best"]
    weights = load_file(folder / "best.safetensors")
    folder.rename("runs/whole")

    heard = Heard()
    stopped = runner(
        registry,
        study=study,
        heard=heard,
        should_stop=lambda: "train, epoch 2 of 3" in heard.phases,
    ).run()
    assert stopped["outcome"] == "interrupted"
    assert len(list((folder / "checkpoints").iterdir())) == 1

    heard = Heard()
    best = runner(registry, study=study, heard=heard).run()["best"]
    assert [phase for phase in heard.phases if "epoch" in phase] == ["train, epoch 3 of 3"]
    assert best["digest"] == whole["digest"]
    assert best["validation_accuracy"] == whole["validation_accuracy"]
    pieces = load_file(folder / "best.safetensors")
    assert all(torch.equal(weights[key], pieces[key]) for key in weights)
    assert not (folder / "checkpoints").exists()


def test_a_front_is_in_the_summary_and_best_stays_the_most_accurate(
    registry: MixerRegistry,
) -> None:
    text = STUDY.replace("budget: {train: 1}\n", "").replace(
        "trials: 3", "trials: 5, objective: {front: [accuracy, params]}"
    )
    summary = runner(registry, study=load_study(write_study(text), {}, device="cpu")).run()
    front, best = summary["front"], summary["best"]
    assert best["trial"] == front[0]["trial"]
    costs = [(trial["validation_accuracy"], trial["params"]) for trial in front]
    assert costs == sorted(costs, reverse=True)
    assert summary["trials"]["by_state"] == {"COMPLETE": 5}
    assert summary["feasible"]


def test_without_a_front_there_is_none_in_the_summary(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    assert runner(registry).run()["front"] is None


def test_a_study_file_that_is_removed_while_the_study_runs_is_written_again(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    file = Path("runs/tiny/study.yaml")
    written: list[str] = []

    def remove(_spec: BackboneSpec, record: TrialRecord) -> None:
        if not written:
            written.append(file.read_text())
            file.unlink()
        record.state = TrialState.REJECTED

    evaluate_by(remove)
    heard = Heard()
    runner(registry, heard=heard).run()
    assert file.read_text() == written[0]
    assert any("was removed while the study ran; written again" in line for line in heard.notes)
