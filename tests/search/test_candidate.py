from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import BASELINE, STUDY, write_study
from torch import nn

from metaformer import BackboneSpec
from mixers import MixerRegistry
from search import budget_checks
from search import candidate as candidate_module
from search.candidate import CandidateEvaluator
from search.data import Splits, load_data
from search.errors import Interrupted
from search.measuring.measurer import MEASURING_ATTEMPTS, Measurer
from search.measuring.subjects import subject_of
from search.records import NOT_BUILDABLE, BaselineRecord, TrialRecord, TrialState
from search.space import SearchSpace
from search.study_config import Study
from search.study_file import load_study
from search.throughput import Measurement, Protocol, SystemClock, Verdict, held_locks
from search.throughput.floors import Rates
from search.throughput.lease import ALONE, Lease, device_keys, device_lease, open_folder
from search.training import Score, train_and_score

BUDGET = 100.0


@pytest.fixture(autouse=True)
def endlessly_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's rates rule nothing out."""
    monkeypatch.setattr(Measurer, "rates", lambda *_arguments: Rates(1e30, 1e30))


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load_data("digits", 8)


def study(text: str = STUDY, **overrides: Any) -> Study:
    return load_study(write_study(text), {"budget": {"train": BUDGET}, **overrides}, device="cpu")


def a_spec(registry: MixerRegistry, width: int = 4) -> BackboneSpec:
    fields = {"name": "x", "num_classes": 10, "image_size": 8}
    space = SearchSpace(study().space, registry, fields=fields)
    choices: dict[str, Any] = {"depth": 1, "width": width, "mixer": "pooling", "pool_size": 3}
    return space.backbone(lambda name, _domain: choices[name.rsplit(".", 1)[-1]])


class FakeMeasure:
    """Answers with the verdicts of a list, the last for ever; keeps what it was asked."""

    def __init__(self, *verdicts: Verdict | None, images_per_second: float = 120.0) -> None:
        self.verdicts = list(verdicts)
        self.images_per_second = images_per_second
        self.asked: list[tuple[Protocol, float | None]] = []

    def __call__(
        self,
        model: nn.Module,
        protocol: Protocol,
        *,
        budget: float | None,
        device: torch.device,
        clock: SystemClock,
    ) -> Measurement:
        self.asked.append((protocol, budget))
        verdict = self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]
        speed = math.nan if verdict is Verdict.CONTAMINATED else self.images_per_second
        return Measurement(
            protocol=protocol,
            budget=budget,
            images_per_second=speed,
            low=speed * 0.99,
            high=speed * 1.01,
            verdict=verdict,
            block_seconds=(0.1,),
            steps_per_block=1,
            looks=1,
            environment={},
        )


def evaluate(
    registry: MixerRegistry,
    digits: Splits,
    measure: FakeMeasure,
    *,
    spec: BackboneSpec | None = None,
    of: Study | None = None,
    phase: Callable[[str], None] = lambda _text: None,
    note: Callable[[str], None] = lambda _text: None,
) -> tuple[TrialRecord, Any]:
    evaluator = CandidateEvaluator(
        config=(of or study()).config,
        registry=registry,
        data=digits,
        device=torch.device("cpu"),
        phase=phase,
        note=note,
        check=lambda: None,
        measure=measure,
        sleep=lambda _seconds: None,
    )
    record = TrialRecord(number=0, state=TrialState.FAILED)
    weights = evaluator.evaluate(spec or a_spec(registry), record)
    return record, weights


def test_a_candidate_that_passes_is_trained_and_scored(
    registry: MixerRegistry, digits: Splits
) -> None:
    phases: list[str] = []
    record, weights = evaluate(registry, digits, FakeMeasure(Verdict.PASS), phase=phases.append)
    assert record.state is TrialState.COMPLETE
    assert record.accuracy is not None
    assert weights is not None
    assert phases == ["build", "measure train", "train", "train, epoch 1 of 1"]
    assert record.constraints == {"throughput.train": pytest.approx(math.log(100 / 120))}
    assert set(record.seconds) == {"build", "measure", "train"}
    assert record.mixers == [
        {
            "name": "pooling",
            "distribution": "metaformer-search",
            "version": record.mixers[0]["version"],
            "entry_point": "mixers.builtin.pooling:Pooling",
            **registry["pooling"].origin,
        }
    ]
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    assert record.params == sum(w.numel() for k, w in weights.items() if not k.endswith(buffers))


def test_a_candidate_under_the_budget_is_recorded_and_not_trained(
    registry: MixerRegistry, digits: Splits
) -> None:
    measure = FakeMeasure(Verdict.FAIL, images_per_second=80.0)
    record, weights = evaluate(registry, digits, measure)
    assert (record.state, record.score, weights) == (TrialState.REJECTED, None, None)
    assert record.constraints == {"throughput.train": pytest.approx(math.log(100 / 80))}
    assert record.reason == "train: 80 of 100 images/s [79, 81], FAIL"
    assert "train" not in record.seconds


def test_borderline_is_measured_again_with_more_time_and_counts_as_a_miss_if_it_stays(
    registry: MixerRegistry, digits: Splits
) -> None:
    measure = FakeMeasure(Verdict.BORDERLINE, images_per_second=100.4)
    record, _ = evaluate(registry, digits, measure)
    assert record.state is TrialState.REJECTED
    assert [protocol.max_seconds for protocol, _ in measure.asked] == [20.0, 40.0]
    # the median lies above the budget, and still the constraint says infeasible
    assert record.constraints["throughput.train"] > 0
    settled, _ = evaluate(registry, digits, FakeMeasure(Verdict.BORDERLINE, Verdict.PASS))
    assert settled.state is TrialState.COMPLETE


def test_contaminated_is_measured_again_a_bounded_number_of_times(
    registry: MixerRegistry, digits: Splits
) -> None:
    settled, _ = evaluate(
        registry, digits, FakeMeasure(Verdict.CONTAMINATED, Verdict.CONTAMINATED, Verdict.PASS)
    )
    assert settled.state is TrialState.COMPLETE
    never = FakeMeasure(Verdict.CONTAMINATED)
    notes: list[str] = []
    record, _ = evaluate(registry, digits, never, note=notes.append)
    waits = [f"others compute on cpu: measured again after {seconds} s" for seconds in (2, 4, 8)]
    assert notes == waits
    assert record.state is TrialState.INTERRUPTED  # not the candidate's doing: tried again
    assert record.constraints == {}
    assert "no valid sample" in record.reason
    assert len(never.asked) == MEASURING_ATTEMPTS


def test_what_is_measured_and_what_is_trained_are_separate_settings(
    registry: MixerRegistry, digits: Splits
) -> None:
    measure = FakeMeasure(Verdict.PASS)
    larger = study(measure={"image_size": 24, "batch_size": 3})
    evaluate(registry, digits, measure, of=larger)
    ((protocol, budget),) = measure.asked
    assert (protocol.image_size, protocol.batch_size, budget) == (24, 3, BUDGET)


def test_every_budgeted_mode_is_measured_until_one_is_missed(
    registry: MixerRegistry, digits: Splits
) -> None:
    both = study(budget={"train": 100.0, "infer": 300.0})
    measure = FakeMeasure(Verdict.PASS, images_per_second=400)
    record, _ = evaluate(registry, digits, measure, of=both)
    assert [protocol.mode for protocol, _ in measure.asked] == ["train", "infer"]
    assert set(record.constraints) == {"throughput.train", "throughput.infer"}
    failing = FakeMeasure(Verdict.FAIL)
    evaluate(registry, digits, failing, of=both)
    assert len(failing.asked) == 1


def test_a_latency_is_a_budget_of_one_image_at_a_time(
    registry: MixerRegistry, digits: Splits
) -> None:
    of = load_study(write_study(STUDY.replace("{train: 1}", "{latency: 5}")), {}, device="cpu")
    measure = FakeMeasure(Verdict.FAIL, images_per_second=100.0)
    record, weights = evaluate(registry, digits, measure, of=of)
    protocol, budget = measure.asked[0]
    assert (protocol.mode, protocol.batch_size, budget) == ("latency", 1, 200.0)
    assert record.state is TrialState.REJECTED
    assert record.reason == "latency: 10 of 5 ms [9.9, 10.1], FAIL"
    assert record.constraints == {"latency": pytest.approx(math.log(2))}
    assert weights is None


def test_what_is_on_the_front_is_measured_without_a_budget_and_rejects_nothing(
    registry: MixerRegistry, digits: Splits
) -> None:
    front = "trials: 3, objective: {front: [accuracy, infer, latency, memory]}"
    text = STUDY.replace("budget: {train: 1}\n", "").replace("trials: 3", front)
    of = load_study(write_study(text), {}, device="cpu")
    measure = FakeMeasure(None, images_per_second=3.0)
    record, _ = evaluate(registry, digits, measure, of=of)
    assert [(asked.mode, budget) for asked, budget in measure.asked] == [
        ("infer", None),
        ("latency", None),
    ]
    assert record.state is TrialState.COMPLETE
    assert record.constraints == {}
    assert record.peak_memory_bytes is not None


@pytest.mark.parametrize("name", ["params", "macs"])
def test_counted_budgets_reject_before_anything_is_measured(
    registry: MixerRegistry, digits: Splits, name: str
) -> None:
    measure = FakeMeasure(Verdict.PASS)
    record, _ = evaluate(registry, digits, measure, of=study(budget={"train": 1.0, name: 10}))
    assert record.state is TrialState.REJECTED
    assert record.reason.startswith(f"{name}: ")
    assert record.constraints[name] > 0
    assert measure.asked == []


def test_a_candidate_that_cannot_be_built_is_rejected_with_the_reason(
    registry: MixerRegistry, digits: Splits
) -> None:
    spec = a_spec(registry)
    data = spec.to_data()
    data["stages"][0]["mixer"] = {"inception_dw": {"branch_ratio": 0.0625}}
    record, _ = evaluate(
        registry, digits, FakeMeasure(Verdict.PASS), spec=BackboneSpec.model_validate(data)
    )
    assert record.state is TrialState.REJECTED
    assert "branch_ratio: got 0.0625; 4 channels need 0.25 or more" in record.reason
    assert record.constraints == {"buildable": NOT_BUILDABLE}


def test_a_candidate_beyond_the_memory_is_answered_before_it_is_allocated(
    registry: MixerRegistry, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_checks, "device_memory_bytes", lambda _device: 1000)
    measure = FakeMeasure(Verdict.PASS)
    record, _ = evaluate(registry, digits, measure)
    assert record.state is TrialState.OOM
    assert "needs " in record.reason
    assert record.constraints["memory"] > 0
    assert measure.asked == []


def test_what_no_kernel_could_run_in_time_is_rejected_before_it_is_built(
    registry: MixerRegistry, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def rates(*_arguments: Any) -> Rates:
        asked.append(1)
        return Rates(macs_per_second=1e3, bytes_per_second=1e30)

    monkeypatch.setattr(Measurer, "rates", rates)
    measure = FakeMeasure(Verdict.PASS)
    record, _ = evaluate(registry, digits, measure)
    assert (record.state, measure.asked) == (TrialState.REJECTED, [])
    assert record.reason.startswith("train: at most ")
    assert record.constraints["throughput.train"] == pytest.approx(
        math.log(BUDGET / record.at_most["train"])
    )
    assert 0 < record.at_most["train"] < BUDGET
    assert TrialRecord.from_data(record.to_data()) == record


def test_where_the_rates_cannot_be_told_nothing_is_rejected_for_them(
    registry: MixerRegistry, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Measurer, "rates", lambda *_arguments: None)
    record, _ = evaluate(registry, digits, FakeMeasure(Verdict.PASS))
    assert record.state is TrialState.COMPLETE


@pytest.mark.parametrize(
    ("gibibytes", "state", "measured"),
    [(1.0, TrialState.COMPLETE, 1), (1e-6, TrialState.REJECTED, 0)],
)
def test_memory_is_a_budget(
    registry: MixerRegistry, digits: Splits, gibibytes: float, state: TrialState, measured: int
) -> None:
    measure = FakeMeasure(Verdict.PASS)
    limited = study(budget={"train": BUDGET, "memory": gibibytes})
    record, _ = evaluate(registry, digits, measure, of=limited)
    assert record.state is state
    assert (record.constraints["memory"] <= 0) is (state is TrialState.COMPLETE)
    assert len(measure.asked) == measured
    if measured:
        assert record.peak_memory_bytes is not None
        assert record.peak_memory_bytes > 0
    else:
        assert record.reason.startswith("memory: ")


def test_a_step_that_takes_more_memory_than_was_counted_is_rejected(
    registry: MixerRegistry, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget_checks, "peak_memory_bytes", lambda *_arguments: 3 * 2**30)
    limited = study(budget={"memory": 2.0})
    record, _ = evaluate(registry, digits, FakeMeasure(Verdict.PASS), of=limited)
    assert record.state is TrialState.REJECTED
    assert record.reason == "memory: 3.000 of 2 GiB allowed"
    assert record.constraints["memory"] == pytest.approx(math.log(1.5))


@pytest.mark.parametrize(
    "error", [MemoryError("no more"), torch.OutOfMemoryError("CUDA out of memory. Tried\nmore")]
)
def test_running_out_of_memory_makes_a_candidate_infeasible(
    registry: MixerRegistry, digits: Splits, error: Exception
) -> None:
    class Hungry(FakeMeasure):
        def __call__(self, *_args: Any, **_settings: Any) -> Measurement:
            raise error

    record, weights = evaluate(registry, digits, Hungry(Verdict.PASS))
    assert (record.state, weights) == (TrialState.OOM, None)
    assert record.reason == str(error).splitlines()[0]
    assert record.constraints["memory"] > 0


def test_other_errors_pass_through(registry: MixerRegistry, digits: Splits) -> None:
    class Broken(FakeMeasure):
        def __call__(self, *_args: Any, **_settings: Any) -> Measurement:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        evaluate(registry, digits, Broken(Verdict.PASS))


def test_a_diverged_training_fails_with_its_reason(registry: MixerRegistry, digits: Splits) -> None:
    wild = study(train={"learning_rate": 1e30, "epochs": 2})
    record, weights = evaluate(registry, digits, FakeMeasure(Verdict.PASS), of=wild)
    assert (record.state, weights) == (TrialState.FAILED, None)
    assert record.reason.startswith("diverged: the loss became nan in epoch")


def test_a_candidate_trains_alike_whatever_its_number(
    registry: MixerRegistry, digits: Splits
) -> None:
    one, first = evaluate(registry, digits, FakeMeasure(Verdict.PASS))
    torch.rand(7)
    two, second = evaluate(registry, digits, FakeMeasure(Verdict.PASS))
    assert one.score == two.score
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_measurement_can_be_stopped_between_its_steps(
    registry: MixerRegistry, digits: Splits
) -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 20:
            raise Interrupted

    evaluator = CandidateEvaluator(
        config=study().config,
        registry=registry,
        data=digits,
        device=torch.device("cpu"),
        phase=lambda _text: None,
        note=lambda _text: None,
        check=check,
    )
    record = TrialRecord(number=0, state=TrialState.FAILED)
    with pytest.raises(Interrupted):
        evaluator.evaluate(a_spec(registry), record)
    assert record.measurements == []


class Leases:
    """Stands for both kinds of lease; `events` are what was done with them, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, waited: float = 0.0) -> None:
        self.events: list[str] = []
        self.waited_seconds, self._each_time = 0.0, waited
        monkeypatch.setattr("search.measuring.measurer.device_lease", self.alone)
        monkeypatch.setattr("search.measuring.measurer.shared_lease", self.shared)

    @contextmanager
    def alone(self, _device: torch.device, **_options: Any) -> Iterator[Lease]:
        self.events.append("alone")
        yield Lease((), "", self._each_time)
        self.events.append("given back")

    @contextmanager
    def shared(self, _device: torch.device, **_options: Any) -> Iterator[Leases]:
        self.waited_seconds = self._each_time
        self.events.append("shared")
        yield self
        self.events.append("given back")

    def make_way(self) -> None:
        self.waited_seconds += self._each_time
        self.events.append("step")


def test_who_measures_has_the_device_alone_and_who_builds_or_trains_shares_it(
    registry: MixerRegistry, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Leases(monkeypatch)

    class Measured(FakeMeasure):
        def __call__(self, *arguments: Any, **options: Any) -> Measurement:
            leases.events.append("measured")
            return super().__call__(*arguments, **options)

    def train(*arguments: Any, **options: Any) -> Score:
        leases.events.append("trained")
        return train_and_score(*arguments, **options)

    monkeypatch.setattr(candidate_module, "train_and_score", train)
    monkeypatch.setattr("search.budget_checks.speed_problem", lambda *_arguments: None)
    evaluate(registry, digits, Measured(Verdict.PASS), phase=leases.events.append)
    assert [event for event in leases.events if event != "step" and "epoch" not in event] == [
        *("build", "shared", "given back"),
        *("shared", "given back"),  # its work counted
        *("measure train", "alone", "measured", "given back"),
        *("train", "shared", "trained", "given back"),
    ]


def test_a_training_looks_before_each_step_whether_somebody_wants_to_measure(
    registry: MixerRegistry, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases, config = Leases(monkeypatch), study().config
    evaluate(registry, digits, FakeMeasure(Verdict.PASS))
    steps = math.ceil(len(digits.train) / config.train.batch_size) * config.train.epochs
    assert leases.events.count("step") >= steps


def test_what_others_had_the_device_for_is_told_apart_from_training_and_measuring(
    registry: MixerRegistry, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Leases(monkeypatch, waited=1000.0)
    record, _ = evaluate(registry, digits, FakeMeasure(Verdict.PASS))
    waits = sum(event in ("alone", "shared", "step") for event in leases.events)
    assert record.seconds["wait"] == 1000.0 * waits
    paused = 1000.0 * leases.events.count("step")  # nobody has really waited
    assert 0 < record.seconds["train"] + paused < 1000.0
    assert 0 < record.seconds["measure"] + 1000.0 < 1000.0


def measure_elsewhere(pipe: Connection) -> None:
    """What another process does that measures on the CPU until it is told to end."""
    held_locks.is_ancestor = lambda _holder: False
    with device_lease(torch.device("cpu"), wait_seconds=60):
        pipe.send("measures")
        pipe.recv()


def test_a_training_pauses_while_another_process_measures_and_then_ends_as_it_would_have(
    registry: MixerRegistry, digits: Splits
) -> None:
    ours, theirs = multiprocessing.Pipe()
    other = multiprocessing.get_context("fork").Process(target=measure_elsewhere, args=(theirs,))
    folder, _ = open_folder()
    assert folder is not None
    first_cpu = device_keys(torch.device("cpu"))[0]
    said: list[str] = []

    def check() -> None:
        if other.pid is None:  # in the first step
            other.start()
            while not folder.is_held(first_cpu + ALONE):
                time.sleep(0.01)
        elif not said:  # between looks whether the other has ended
            said.append(ours.recv())
            ours.send("end")
            other.join()

    def train(check: Callable[[], None]) -> Any:
        evaluator = CandidateEvaluator(
            config=study().config,
            registry=registry,
            data=digits,
            device=torch.device("cpu"),
            phase=lambda _text: None,
            note=lambda _text: None,
            check=check,
        )
        return evaluator.train(a_spec(registry), TrialRecord(number=0, state=TrialState.FAILED))

    paused, whole = train(check), train(lambda: None)
    assert said == ["measures"]
    assert all(torch.equal(paused[key], whole[key]) for key in whole)


def test_a_training_that_was_stopped_goes_on_from_its_last_epoch(
    registry: MixerRegistry, digits: Splits, tmp_path: Path
) -> None:
    config = study(train={"epochs": 3}).config
    phases: list[str] = []

    def train(check: Callable[[], None], folder: Path | None) -> dict[str, torch.Tensor] | None:
        evaluator = CandidateEvaluator(
            config=config,
            registry=registry,
            data=digits,
            device=torch.device("cpu"),
            phase=phases.append,
            note=lambda _text: None,
            check=check,
            checkpoints=folder,
        )
        return evaluator.train(a_spec(registry), TrialRecord(number=0, state=TrialState.FAILED))

    def stop_in_the_last_epoch() -> None:
        if "train, epoch 2 of 3" in phases:
            raise Interrupted

    whole = train(lambda: None, None)
    phases.clear()
    with pytest.raises(Interrupted):
        train(stop_in_the_last_epoch, tmp_path / "checkpoints")
    phases.clear()
    pieces = train(lambda: None, tmp_path / "checkpoints")
    assert phases == ["train", "train, epoch 3 of 3"]
    assert whole is not None
    assert pieces is not None
    assert all(torch.equal(whole[key], pieces[key]) for key in whole)
    assert list(tmp_path.iterdir()) == []  # what is done needs no checkpoint


def test_a_damaged_checkpoint_is_told_and_the_training_begins_anew(
    registry: MixerRegistry, digits: Splits, tmp_path: Path
) -> None:
    spec = a_spec(registry)
    notes: list[str] = []
    evaluator = CandidateEvaluator(
        config=study().config,
        registry=registry,
        data=digits,
        device=torch.device("cpu"),
        phase=lambda _text: None,
        note=notes.append,
        check=lambda: None,
        checkpoints=tmp_path,
    )
    file = evaluator._checkpoint_of(subject_of(spec, registry))
    assert file is not None
    file.write_bytes(b"torn")
    record = TrialRecord(number=0, state=TrialState.FAILED)
    assert evaluator.train(spec, record) is not None
    assert record.state is TrialState.COMPLETE
    assert len(notes) == 1
    assert "no checkpoint that can be read" in notes[0]
    assert "training from the first epoch" in notes[0]


def compare(
    registry: MixerRegistry, digits: Splits, measure: FakeMeasure, name: str, /, **overrides: Any
) -> BaselineRecord:
    evaluator = CandidateEvaluator(
        config=study(**overrides).config,
        registry=registry,
        data=digits,
        device=torch.device("cpu"),
        phase=lambda _text: None,
        note=lambda _text: None,
        check=lambda: None,
        measure=measure,
        sleep=lambda _seconds: None,
    )
    record = BaselineRecord(name=name, state=TrialState.FAILED)
    evaluator.compare(record)
    return record


def test_a_baseline_is_trained_whichever_budgets_it_misses(
    registry: MixerRegistry, digits: Splits
) -> None:
    mine = str(write_study(BASELINE, "mine.yaml"))
    measure = FakeMeasure(Verdict.FAIL, Verdict.PASS, images_per_second=90)
    budget = {"train": BUDGET, "infer": 80, "params": 10}
    record = compare(registry, digits, measure, mine, budget=budget)
    assert [protocol.mode for protocol, _ in measure.asked] == ["train", "infer"]
    assert record.state is TrialState.COMPLETE
    assert record.reason.startswith("params: ")
    assert record.reason.endswith("; train: 90 of 100 images/s [89, 91], FAIL")
    assert record.within_budget is False
    assert record.accuracy is not None
    assert record.test_accuracy is not None


def test_a_baseline_is_that_candidate_trained_alike(
    registry: MixerRegistry, digits: Splits
) -> None:
    mine = str(write_study(BASELINE, "mine.yaml"))
    record = compare(registry, digits, FakeMeasure(Verdict.PASS), mine)
    assert record.spec is not None
    spec = BackboneSpec.model_validate(record.spec)
    trial, _ = evaluate(registry, digits, FakeMeasure(Verdict.PASS), spec=spec)
    assert (record.digest, record.params, record.macs) == (trial.digest, trial.params, trial.macs)
    assert record.accuracy == trial.accuracy
    assert record.within_budget is True


@pytest.mark.parametrize(
    ("name", "overrides", "verdict", "state", "words"),
    [
        ("mine.yaml", {}, Verdict.CONTAMINATED, "INTERRUPTED", "others compute on cpu"),
        ("mine.yaml", {"measure": {"batch_size": 10**6, "image_size": 2048}}, Verdict.PASS, "OOM",
         " GiB or more, cpu has "),
        ("big.yaml", {}, Verdict.PASS, "FAILED", "cannot be built: big.yaml:"),
    ],
)  # fmt: skip
def test_what_a_baseline_cannot_do_is_said_in_its_record(
    registry: MixerRegistry,
    digits: Splits,
    name: str,
    overrides: dict[str, Any],
    verdict: Verdict,
    state: str,
    words: str,
) -> None:
    write_study(BASELINE, "mine.yaml")
    write_study(
        BASELINE.replace("kernel_size: 2, stride: 2", "kernel_size: 9, stride: 9"), "big.yaml"
    )
    record = compare(registry, digits, FakeMeasure(verdict), name, **overrides)
    assert (record.state.value, record.within_budget) == (state, None)
    assert words in record.reason
    assert record.accuracy is None


def test_a_model_of_others_that_the_meta_device_cannot_hold_is_counted_on_the_real_one(
    registry: MixerRegistry, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AsksForValues(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.scale = torch.ones(1).item()
            self.head = nn.Linear(3 * 8 * 8, num_classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(x.flatten(1)) * self.scale
            return logits

    monkeypatch.setattr("timm.create_model", lambda _name, num_classes: AsksForValues(num_classes))
    record = compare(
        registry, digits, FakeMeasure(Verdict.PASS), "timm:test_vit", budget={"params": 100}
    )
    assert record.state is TrialState.COMPLETE
    assert record.params == 3 * 8 * 8 * 10 + 10
    assert record.reason == "params: 1,930 of 100 allowed"
