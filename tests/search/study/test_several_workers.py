"""Several candidates at a time: whichever ends first, the study's books are right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from studies import Heard, reject, runner

from metaformer import BackboneSpec
from mixers import MixerRegistry
from search.errors import EnvironmentProblem, UsageError
from search.storage.records import TrialRecord, TrialState
from search.storage.run_folder import RunFolder
from search.study.loop import MAX_FAILURES_RUNNING, MAX_UNMEASURED_RUNNING
from search.study.runner import StudyRunner
from search.workers.interface import TaskKind, TaskResult, Weights

Answering = Callable[[BackboneSpec, TrialRecord], Weights | None]


class Several:
    """Takes `size` candidates at a time; which ends next `choose` says, by its place among those
    under way, and what becomes of it `answer`."""

    def __init__(
        self, size: int, answer: Answering, choose: Callable[[int], int] = lambda _under_way: -1
    ) -> None:
        self.size, self.answer, self.choose = size, answer, choose
        self.under_way: list[tuple[TaskKind, BackboneSpec, TrialRecord]] = []
        self.begun: list[str] = []
        self.most = 0
        self.closed = False

    @property
    def free(self) -> int:
        return self.size - len(self.under_way)

    def submit(self, do: TaskKind, spec: BackboneSpec, record: TrialRecord) -> None:
        assert spec.digest not in [other.digest for _, other, _ in self.under_way]
        self.under_way.append((do, spec, record))
        self.begun.append(spec.digest)
        self.most = max(self.most, len(self.under_way))
        assert len(self.under_way) <= self.size

    def next_answer(self) -> TaskResult:
        _, spec, record = self.under_way[self.choose(len(self.under_way))]
        found = TrialRecord.from_data(record.to_data())  # as over a pipe
        weights = self.answer(spec, found)
        self.under_way = [work for work in self.under_way if work[2].number != found.number]
        return found, weights

    def close(self) -> None:
        self.closed = True


Put = Callable[..., Several]


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Put:
    """Has candidates evaluated by such an executor."""

    def several(*arguments: Any) -> Several:
        executor = Several(*arguments)
        monkeypatch.setattr(StudyRunner, "executor", lambda *_self: executor)
        return executor

    return several


def complete(accuracy: float) -> Answering:
    def answer(_spec: BackboneSpec, record: TrialRecord) -> Weights:
        score = {"metric": "accuracy", "value": accuracy, "epochs": 1, "split": "validation"}
        record.state, record.score = TrialState.COMPLETE, score
        return {"number": torch.tensor([record.number])}

    return answer


def lines() -> list[dict[str, Any]]:
    text = Path("runs/tiny/trials.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("trials", [1, 5, 18])
def test_as_many_are_under_way_as_are_taken_and_never_more_than_are_left(
    registry: MixerRegistry, put: Put, trials: int
) -> None:
    executor = put(4, reject)
    summary = runner(registry, search={"trials": trials}).run()
    assert summary["trials"]["counted"] == len(executor.begun) == trials
    assert executor.most == min(4, trials)
    assert len(set(executor.begun)) == trials
    assert executor.closed


def test_trials_are_on_record_as_they_end_and_stay_so(registry: MixerRegistry, put: Put) -> None:
    put(3, reject)
    runner(registry, search={"trials": 5}).run()
    before = Path("runs/tiny/trials.jsonl").read_bytes()
    numbers = [line["number"] for line in lines()]
    assert numbers[-1] == 0  # begun first, chosen last
    runner(registry, search={"trials": 5}).run()
    assert Path("runs/tiny/trials.jsonl").read_bytes() == before


@pytest.mark.parametrize("place", [0, -1])
def test_of_equals_the_first_proposed_is_the_best_whichever_ends_first(
    registry: MixerRegistry, put: Put, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.study.loop.SearchLoop.test_best", lambda _self: 0.5)
    put(3, complete(0.5), lambda _under_way: place)
    heard = Heard()
    assert runner(registry, heard=heard).run()["best"]["trial"] == 0
    assert load_file("runs/tiny/best.safetensors")["number"] == 0
    assert runner(registry, heard=heard).run()["best"]["trial"] == 0
    assert not any("are gone" in note for note in heard.notes)


def test_one_that_is_lost_is_tried_again_and_the_others_are_not(
    registry: MixerRegistry, put: Put
) -> None:
    def lose_one(spec: BackboneSpec, record: TrialRecord) -> None:
        reject(spec, record)
        if record.number == 0:
            record.state, record.reason = TrialState.LOST, "its process died: SIGKILL"

    executor = put(3, lose_one)
    summary = runner(registry, search={"trials": 6}).run()
    assert summary["trials"]["by_state"] == {"REJECTED": 6, "LOST": 1}
    assert len(executor.begun) == 7
    assert len(set(executor.begun)) == 6


def test_one_that_is_lost_when_all_else_is_known_is_tried_again(
    registry: MixerRegistry, put: Put
) -> None:
    lost: list[int] = []

    def lose_the_first_at_last(spec: BackboneSpec, record: TrialRecord) -> None:
        reject(spec, record)
        if record.number == 0:
            lost.append(record.number)
            record.state, record.reason = TrialState.LOST, "its process died: SIGKILL"

    put(3, lose_the_first_at_last)
    summary = runner(registry, search={"trials": 50}).run()
    assert summary["outcome"] == "space exhausted"
    assert (lost, summary["trials"]["counted"]) == ([0], 18)


def test_an_interrupt_reaches_all_that_are_under_way_and_they_come_first_afterwards(
    registry: MixerRegistry, put: Put
) -> None:
    answered: list[int] = []

    def stop_at_the_second(spec: BackboneSpec, record: TrialRecord) -> None:
        answered.append(record.number)
        reject(spec, record)
        if len(answered) > 1:
            record.state, record.reason = TrialState.INTERRUPTED, "stopped by the user"

    executor = put(3, stop_at_the_second)
    summary = runner(registry, search={"trials": 6}, should_stop=lambda: len(answered) > 1).run()
    assert summary["outcome"] == "interrupted"
    assert summary["trials"]["by_state"] == {"REJECTED": 1, "INTERRUPTED": 3}
    left = set(executor.begun) - {lines()[0]["digest"]}
    again = put(3, reject)
    assert runner(registry, search={"trials": 6}).run()["trials"]["counted"] == 6
    assert set(again.begun[:3]) == left


@pytest.mark.parametrize("error", [UsageError, EnvironmentProblem, KeyboardInterrupt])
def test_what_is_no_candidates_doing_leaves_all_under_way_to_be_tried_again(
    registry: MixerRegistry, put: Put, error: type[BaseException]
) -> None:
    def trouble(_spec: BackboneSpec, _record: TrialRecord) -> None:
        raise error("no such data")

    executor = put(3, trouble)
    with pytest.raises(error):
        runner(registry).run()
    assert executor.closed
    assert [(line["state"], line["reason"]) for line in lines()] == [
        ("INTERRUPTED", "no such data")
    ] * 3
    again = put(3, reject)
    runner(registry).run()
    assert set(again.begun) == set(executor.begun)


def test_what_is_under_way_at_the_time_limit_ends(
    registry: MixerRegistry, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = iter([0.0, 1.0, 2.0, 11.0])
    clock = SimpleNamespace(monotonic=lambda: next(readings))
    monkeypatch.setattr("search.study.loop.time", clock)
    put(3, reject)
    summary = runner(registry, search={"trials": 9}).run(time_limit=10)
    assert summary["outcome"] == "time limit"
    assert summary["trials"]["by_state"] == {"REJECTED": 2}


def test_failures_and_others_at_work_end_a_study_of_several_workers_too(
    registry: MixerRegistry, put: Put
) -> None:
    def others_at_work(_spec: BackboneSpec, record: TrialRecord) -> None:
        record.state, record.reason = TrialState.INTERRUPTED, "train: no valid sample"

    put(2, others_at_work)
    summary = runner(registry, search={"trials": 18}).run()
    assert summary["outcome"] == "machine busy"
    # one more was under way when that was clear
    assert summary["trials"]["by_state"] == {"INTERRUPTED": MAX_UNMEASURED_RUNNING + 1}

    def fail(_spec: BackboneSpec, record: TrialRecord) -> None:
        record.reason = "diverged: always"  # which is no fault of a mixer

    put(2, fail)
    summary = runner(registry, search={"trials": 18}).run()
    assert summary["outcome"] == "too many failures"
    assert summary["trials"]["by_state"]["FAILED"] == MAX_FAILURES_RUNNING + 1


def test_weights_that_are_gone_are_trained_by_one_worker_first(
    registry: MixerRegistry, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.study.loop.SearchLoop.test_best", lambda _self: 0.5)
    put(2, complete(0.5))
    runner(registry, search={"trials": 2}).run()
    RunFolder(Path("runs/tiny")).best_weights.unlink()
    executor = put(2, complete(0.5))
    runner(registry, search={"trials": 3}).run()
    assert executor.most == 1
    assert load_file("runs/tiny/best.safetensors")["number"] == 0
