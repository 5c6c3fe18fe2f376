"""Who has the device while a candidate is measured and trained."""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch
from evaluating import FakeMeasure, a_spec, evaluate, evaluator, study

from mixers import MixerRegistry
from search.data import Splits
from search.device_lease import _lock_table as held_locks
from search.device_lease.lease import ALONE, Lease, device_keys, device_lease, open_folder
from search.evaluation import evaluator as candidate_module
from search.storage.records import TrialRecord, TrialState
from search.throughput import Measurement, Verdict
from search.training import Score, train_and_score

pytestmark = pytest.mark.usefixtures("endlessly_fast")


class Leases:
    """Stands for both kinds of lease; `events` are what was done with them, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, waited: float = 0.0) -> None:
        self.events: list[str] = []
        self.waited_seconds, self._each_time = 0.0, waited
        monkeypatch.setattr("search.evaluation.measurer.device_lease", self.alone)
        monkeypatch.setattr("search.evaluation.measurer.shared_lease", self.shared)

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
    monkeypatch.setattr("search.evaluation.budget_checks.speed_problem", lambda *_arguments: None)
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
        made = evaluator(registry, digits, check=check)
        return made.train(a_spec(registry), TrialRecord(number=0, state=TrialState.FAILED))

    paused, whole = train(check), train(lambda: None)
    assert said == ["measures"]
    assert all(torch.equal(paused[key], whole[key]) for key in whole)
