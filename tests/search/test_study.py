from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
from misbehaving import with_misbehaving
from safetensors.torch import load_file
from tiny import STUDY, write_study
from torch import Tensor

from metaformer import BackboneSpec, build_backbone, load_spec
from mixers import MixerRegistry
from mixers.registry import GROUP
from search.candidate import CandidateEvaluator
from search.data import load_data
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.journal import exclusive
from search.loop import MAX_FAILURES_RUNNING
from search.records import TrialRecord, TrialState
from search.study import StudyRunner
from search.study_config import Study, load_study
from search.training import accuracy

GOLDEN = Path(__file__).parents[1] / "golden"
CPU = torch.device("cpu")


@dataclasses.dataclass
class Heard:
    """An observer that keeps what it heard."""

    notes: list[str] = dataclasses.field(default_factory=list)
    finished: list[TrialRecord] = dataclasses.field(default_factory=list)
    phases: list[str] = dataclasses.field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def trial_started(self, number: int, done: int, total: int) -> None: ...

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None:
        self.finished.append(record)


def runner(
    registry: MixerRegistry,
    *,
    study: Study | None = None,
    heard: Heard | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    **overrides: Any,
) -> StudyRunner:
    return StudyRunner(
        study=study or load_study(write_study(), overrides, device="cpu"),
        out=Path("runs"),
        registry=registry,
        device=CPU,
        observer=heard or Heard(),
        should_stop=should_stop,
    )


Evaluate = Callable[[BackboneSpec, TrialRecord], dict[str, Tensor] | None]


@pytest.fixture
def evaluate_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Evaluate], None]:
    """Puts a function in the place of building, measuring and training."""

    def put(function: Evaluate) -> None:
        def evaluate(
            self: CandidateEvaluator, spec: BackboneSpec, record: TrialRecord
        ) -> dict[str, Tensor] | None:
            record.spec, record.digest = spec.to_data(), spec.digest
            record.params = record.macs = 1
            return function(spec, record)

        monkeypatch.setattr(CandidateEvaluator, "evaluate", evaluate)

    return put


def reject(_spec: BackboneSpec, record: TrialRecord) -> None:
    record.state, record.reason = TrialState.REJECTED, "too slow"
    speed = 0.5 + record.number / 100
    record.constraints["throughput.train"] = 0.5 - record.number / 100
    figures = dict.fromkeys(("images_per_second", "low", "high"), speed)
    record.measurements.append({"mode": "train", "verdict": "FAIL", **figures})


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


def test_a_failed_candidate_is_kept_with_its_traceback_and_the_study_goes_on(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    def fail_once(spec: BackboneSpec, record: TrialRecord) -> None:
        if record.number == 1:
            raise ZeroDivisionError("in a mixer")
        reject(spec, record)

    evaluate_by(fail_once)
    summary = runner(registry, search={"trials": 4}).run()
    assert summary["outcome"] == "done"
    assert summary["trials"]["by_state"] == {"REJECTED": 3, "FAILED": 1}
    lines = [json.loads(line) for line in Path("runs/tiny/trials.jsonl").read_text().splitlines()]
    assert lines[1]["reason"] == "ZeroDivisionError: in a mixer"
    assert "Traceback" in Path("runs/tiny/errors.log").read_text()


def test_a_study_of_failures_ends_early(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    def fail(_spec: BackboneSpec, _record: TrialRecord) -> None:
        raise RuntimeError("always")

    evaluate_by(fail)
    summary = runner(registry, search={"trials": 18}).run()
    assert summary["outcome"] == "too many failures"
    assert summary["trials"]["counted"] == MAX_FAILURES_RUNNING


def test_out_of_memory_is_infeasible_and_the_study_goes_on(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    def hungry(_spec: BackboneSpec, record: TrialRecord) -> None:
        record.state, record.constraints["memory"] = TrialState.OOM, 10.0

    evaluate_by(hungry)
    summary = runner(registry, search={"trials": 6}).run()
    assert summary["trials"]["by_state"] == {"OOM": 6}


def test_an_interrupt_abandons_the_candidate_and_tries_it_again_later(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    interrupted: list[str] = []

    def stop_at_second(spec: BackboneSpec, record: TrialRecord) -> None:
        if record.number == 1:
            interrupted.append(spec.digest)
            raise Interrupted
        reject(spec, record)

    evaluate_by(stop_at_second)
    stopped = runner(registry, should_stop=lambda: bool(interrupted)).run()
    assert stopped["outcome"] == "interrupted"
    assert stopped["trials"]["by_state"] == {"REJECTED": 1, "INTERRUPTED": 1}
    heard = Heard()
    done = runner(registry, heard=heard).run()
    assert done["outcome"] == "done"
    assert heard.finished[0].digest == interrupted[0]
    assert done["trials"]["counted"] == 3


def test_no_candidate_is_begun_after_the_time_limit(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    summary = runner(registry).run(time_limit=0.0)
    assert summary["outcome"] == "time limit"
    assert summary["trials"]["counted"] == 0


def test_a_space_that_is_all_tried_ends_the_study(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    summary = runner(registry, search={"trials": 50}).run()
    assert summary["outcome"] == "space exhausted"
    assert summary["trials"]["counted"] == 18


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


def test_two_processes_do_not_run_one_study(registry: MixerRegistry) -> None:
    Path("runs/tiny").mkdir(parents=True)
    with (
        exclusive(Path("runs/tiny/study.lock"), "busy"),
        pytest.raises(EnvironmentProblem, match="another process is running this study"),
    ):
        runner(registry).run()


def test_the_mixers_are_frozen_into_the_study_and_a_missing_one_stops_it(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    runner(registry).run()
    frozen = load_study("runs/tiny/study.yaml", {}, device="cpu").frozen_mixers
    assert [mixer["name"] for mixer in frozen] == ["identity", "pooling"]
    without = {name: entry for name, entry in registry.entries.items() if name != "pooling"}
    with pytest.raises(EnvironmentProblem, match="not installed or not allowed: pooling"):
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
    monkeypatch.setattr("search.study.load_data", lambda _name, _size: watched)
    heard = Heard()
    runner(registry, heard=heard).run()
    assert set(fetched) == {3}


@pytest.mark.parametrize(
    ("mixer", "state", "reason"),
    [
        ("hungry", "OOM", "can't allocate memory"),
        ("nan", "FAILED", "diverged: the loss became nan in epoch 1, step 1"),
        ("raising", "FAILED", 'KeyError: "a stranger\'s mistake"'),
    ],
)
def test_a_strangers_mixer_that_misbehaves_ends_its_trial_and_not_the_study(
    mixer: str, state: str, reason: str
) -> None:
    own = [p for p in entry_points(group=GROUP) if p.dist and p.dist.name == "metaformer-search"]
    text = STUDY.replace("[identity, pooling]", f"[strangers/{mixer}]")
    study = load_study(write_study(text), {"search": {"trials": 2}}, device="cpu")
    summary = runner(with_misbehaving(own), study=study).run()
    assert summary["outcome"] == "done"
    assert summary["trials"]["by_state"] == {state: 2}
    lines = [json.loads(line) for line in Path("runs/tiny/trials.jsonl").read_text().splitlines()]
    assert all(reason in line["reason"] for line in lines)
    assert lines[0]["mixers"][0]["distribution"] == "strangers"


def test_weights_that_are_gone_are_trained_again_and_are_the_same(
    registry: MixerRegistry,
) -> None:
    first = runner(registry).run()
    weights = Path("runs/tiny/best.safetensors")
    before = load_file(weights)
    weights.unlink()
    heard = Heard()
    again = runner(registry, heard=heard).run()
    assert any("are gone; training it again" in note for note in heard.notes)
    assert again["best"]["test_accuracy"] == first["best"]["test_accuracy"]
    after = load_file(weights)
    assert all(torch.equal(before[key], after[key]) for key in before)
