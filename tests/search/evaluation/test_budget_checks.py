from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from evaluating import BUDGET, FakeMeasure, a_spec, evaluate, study
from tiny import STUDY, write_study

from metaformer import BackboneSpec
from mixers import MixerRegistry
from search.config.load import load_study
from search.data import Splits
from search.evaluation import budget_checks
from search.evaluation.measurer import MEASURING_ATTEMPTS, Measurer
from search.profiling.roofline import Rates
from search.storage.records import NOT_BUILDABLE, TrialRecord, TrialState
from search.throughput import Measurement, Verdict

pytestmark = pytest.mark.usefixtures("endlessly_fast")


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
