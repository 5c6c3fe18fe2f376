from __future__ import annotations

import os

import pytest
import torch
from tiny import write_study

from search.config.load import load_study
from search.errors import EnvironmentProblem, UsageError
from search.storage.records import TrialRecord, TrialState
from search.workers.placement import (
    crowded,
    device_of_each,
    on_its_gpu,
    require_alike,
    require_same_gpu,
)

CPU, FIRST, SECOND = torch.device("cpu"), torch.device("cuda", 0), torch.device("cuda", 1)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of this machine's CUDA devices, as a test says."""
    names = ["A", "A", "B"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: names[device.index])
    return names


def test_devices_of_one_name_may_work_on_one_study(gpus: list[str]) -> None:
    assert require_alike(["cuda:0", "cuda:1"]) == (FIRST, SECOND)
    assert require_alike(["cuda:2"]) == (torch.device("cuda", 2),)
    assert require_alike(["cpu"]) == (CPU,)


def test_devices_of_several_names_are_refused_in_one_message(gpus: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        require_alike(["cuda:0", "cuda:2"])
    words = "--devices: got cuda:0 (A), cuda:2 (B); allowed: devices of one name"
    assert str(caught.value) == words


def test_a_device_that_is_not_there_is_said_with_how_many_there_are(gpus: list[str]) -> None:
    with pytest.raises(
        EnvironmentProblem, match="^device: got cuda:3; allowed: auto, cpu, cuda:0, cuda:1, cuda:2$"
    ):
        require_alike(["cuda:2", "cuda:3"])


def test_each_device_has_a_worker_and_more_workers_take_turns() -> None:
    both = (FIRST, SECOND)
    assert device_of_each(None, both) == both
    assert device_of_each(3, both) == (FIRST, SECOND, FIRST)
    assert device_of_each(None, (CPU,)) == (CPU,)
    assert device_of_each(2, (CPU,)) == (CPU, CPU)


def test_fewer_workers_than_devices_are_refused() -> None:
    with pytest.raises(UsageError) as caught:
        device_of_each(1, (FIRST, SECOND))
    words = "--workers: got 1; allowed: 2 or more, one for each of cuda:0, cuda:1"
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("workers", "threads", "device", "words"),
    [
        (1, 8, CPU, ""),
        (2, 2, CPU, ""),
        (8, 8, FIRST, ""),
        (5, 1, CPU, "5 workers of 1 thread each on 4 CPUs: trainings slow each other down"),
        (2, 3, CPU, "2 workers of 3 threads each on 4 CPUs: trainings slow each other down"),
    ],
)
def test_workers_that_want_more_cpus_than_there_are_are_told(
    workers: int, threads: int, device: torch.device, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 2, 3})
    assert crowded([device] * workers, threads) == words


def test_a_study_goes_on_only_on_gpus_like_that_on_which_it_was_measured(gpus: list[str]) -> None:
    measured = [{"environment": {"device_name": "A"}}]
    records = [TrialRecord(number=3, state=TrialState.REJECTED, measurements=measured)]
    require_same_gpu(SECOND, records)
    require_same_gpu(CPU, records)
    with pytest.raises(UsageError) as caught:
        require_same_gpu(torch.device("cuda", 2), records)
    words = "device: got cuda:2 (B); trial 3 was measured on A; allowed: a device like it"
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("begun_on", "now", "kept"),
    [
        ("cuda:1", "cuda:0", "cuda:1"),
        ("cuda:1", "cpu", "cpu"),
        ("cpu", "cuda:0", "cuda:0"),
        (None, "cuda:0", "cuda:0"),
    ],
)
def test_a_study_stays_that_of_the_gpu_that_it_was_begun_on(
    begun_on: str | None, now: str, kept: str
) -> None:
    config = load_study(write_study(), {}, device="cpu").config
    measure = config.measure.model_copy(update={"device": now})
    going_on = config.model_copy(update={"measure": measure})
    begun = {"measure": {"device": begun_on}} if begun_on else {}
    assert on_its_gpu(going_on, begun).measure.device == kept
