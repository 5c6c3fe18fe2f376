"""Those who compute next to each other and those who measure, as processes on real lock files."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from search.device_lease import _lock_table as held_locks
from search.device_lease import lease
from search.device_lease.lease import LeaseTimeout, device_lease
from search.device_lease.lock_files import Holder
from search.device_lease.shared_lease import shared_lease

CPU = torch.device("cpu")
PATIENCE = 60


class Other:
    """A fork of this process, foreign to it, that runs `work(pipe)` on some CPUs."""

    def __init__(self, work: Callable[..., None], *cpus: int, foreign: bool = True) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.process: BaseProcess = multiprocessing.get_context("fork").Process(
            target=_run, args=(work, theirs, set(cpus), foreign), daemon=True
        )
        self.process.start()

    def says(self) -> Any:
        assert self.pipe.poll(PATIENCE)
        return self.pipe.recv()

    def end(self) -> None:
        self.pipe.send("end")
        self.process.join(PATIENCE)


def _run(work: Callable[..., None], pipe: Connection, cpus: set[int], foreign: bool) -> None:
    os.sched_getaffinity = lambda _pid: cpus
    if foreign:
        held_locks.is_ancestor = lambda _holder: False
    work(pipe)


def measure(pipe: Connection) -> None:
    with device_lease(CPU, wait_seconds=PATIENCE):
        pipe.send("measures")
        pipe.recv()


def try_to_measure(pipe: Connection) -> None:
    try:
        with device_lease(CPU, wait_seconds=0):
            pipe.send("measures")
    except LeaseTimeout as error:
        pipe.send(str(error))


def train(pipe: Connection) -> None:
    """Steps until it is told to end."""
    with shared_lease(CPU) as shared:
        pipe.send("trains")
        while not pipe.poll():
            shared.make_way()
            time.sleep(0.001)


def hang(pipe: Connection) -> None:
    """Trains without ever ending its step."""
    with shared_lease(CPU):
        pipe.send("trains")
        signal.pause()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "shared_folder", lambda: tmp_path / "leases")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})


@pytest.fixture
def start() -> Iterator[Callable[..., Other]]:
    started: list[Other] = []

    def go(work: Callable[..., None], *cpus: int, **options: Any) -> Other:
        started.append(Other(work, *(cpus or (0,)), **options))
        return started[-1]

    yield go
    for other in started:
        other.process.kill()
        other.process.join()


Start = Callable[..., Other]


def test_trainings_run_beside_each_other_and_no_measurement_does(start: Start) -> None:
    first, second = start(hang), start(hang)
    assert (first.says(), second.says()) == ("trains", "trains")
    assert start(try_to_measure).says().startswith("CPU 0 is leased by process ")
    assert start(try_to_measure, 1).says() == "measures"


def test_a_measurement_that_waits_is_first_at_the_next_step_and_the_training_goes_on_after(
    start: Start,
) -> None:
    seen: list[str] = []

    def wait() -> None:  # between looks whether the measurement has ended
        if not seen:
            seen.append(measuring.says())
            assert start(try_to_measure).says().startswith("CPU 0 is leased by process ")
            measuring.end()

    with shared_lease(CPU, check=wait) as shared:
        measuring = start(measure)
        while not seen:
            shared.make_way()
        assert seen == ["measures"]
        assert shared.waited_seconds > 0
        assert start(try_to_measure).says().startswith("CPU 0 is leased by process ")
    assert start(try_to_measure).says() == "measures"


def log_steps(file: Path, times: int) -> Callable[[Connection], None]:
    def work(pipe: Connection) -> None:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        with shared_lease(CPU) as shared:
            for _ in range(times):
                shared.make_way()
                os.write(descriptor, b"t")
                time.sleep(0.002)
                os.write(descriptor, b"T")
        pipe.send("done")

    return work


def log_measurements(file: Path, times: int) -> Callable[[Connection], None]:
    def work(pipe: Connection) -> None:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        for _ in range(times):
            with device_lease(CPU, wait_seconds=PATIENCE):
                os.write(descriptor, b"m")
                time.sleep(0.01)
                os.write(descriptor, b"M")
        pipe.send("done")

    return work


def test_no_step_of_a_training_lies_within_a_measurement(start: Start, tmp_path: Path) -> None:
    """Two processes train and two measure; each writes down where a step of its begins and ends."""
    file = tmp_path / "log"
    file.touch()
    others = [start(log_steps(file, 300)), start(log_steps(file, 300))]
    others += [start(log_measurements(file, 4)), start(log_measurements(file, 4))]
    assert [other.says() for other in others] == ["done"] * 4
    log = file.read_text()
    assert (log.count("t"), log.count("m")) == (600, 8)
    under_way = 0
    for event, following in zip(log, log[1:] + "-", strict=True):
        under_way += {"t": 1, "T": -1}.get(event, 0)
        if event == "m":
            assert (under_way, following) == (0, "M")
    assert "tt" in log  # trainings do overlap


def test_a_killed_training_keeps_nobody_from_measuring(start: Start) -> None:
    training = start(hang)
    assert training.says() == "trains"
    os.kill(training.process.pid or 0, signal.SIGKILL)
    training.process.join()
    assert start(try_to_measure).says() == "measures"


def test_a_measurement_that_is_killed_while_it_waits_holds_no_training_up(start: Start) -> None:
    training = start(hang)
    assert training.says() == "trains"
    waiting = start(measure)
    folder, _ = lease.open_folder()
    assert folder is not None
    while not folder.is_held("cpu-00000" + lease.ALONE):
        time.sleep(0.01)
    os.kill(waiting.process.pid or 0, signal.SIGKILL)
    waiting.process.join()
    assert start(train).says() == "trains"


def test_who_waits_for_one_part_of_a_device_keeps_no_other_part(start: Start) -> None:
    measuring = start(measure, 1)
    assert measuring.says() == "measures"
    wide = start(train, 0, 1)  # waits for CPU 1
    narrow = start(measure, 0)
    assert narrow.says() == "measures"
    narrow.end()
    measuring.end()
    assert wide.says() == "trains"


def test_what_a_process_starts_does_not_measure_beside_its_training(start: Start) -> None:
    with shared_lease(CPU):
        words = start(try_to_measure, foreign=False).says()
    assert words.startswith("CPU 0 is leased by process ")


def test_who_has_the_device_alone_may_train_there_and_so_may_what_it_starts(start: Start) -> None:
    with device_lease(CPU, wait_seconds=0):
        with shared_lease(CPU) as shared:
            shared.make_way()
            training = start(train, foreign=False)
            assert training.says() == "trains"
            training.end()
        assert start(try_to_measure).says().startswith("CPU 0 is leased by process ")


def test_a_short_wait_and_one_for_a_known_process_are_nothing_to_speak_of(start: Start) -> None:
    measuring = start(measure)
    assert measuring.says() == "measures"

    def heard(moments: int, known: Callable[[Holder], bool]) -> list[str]:
        """What is said in so many moments of at least 0.2 s."""
        words: list[str] = []
        clock, left = count(), iter(range(moments))

        def check() -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt

        waiting = shared_lease(
            CPU,
            on_wait=words.append,
            check=check,
            known=known,
            now=lambda: next(clock) * 0.1,
            sleep=lambda _seconds: None,
        )
        with pytest.raises(KeyboardInterrupt), waiting:
            pass
        return words

    assert heard(3, lambda _holder: False) == []
    (words,) = heard(40, lambda _holder: False)
    assert words.startswith(f"CPU 0 is leased by process {measuring.process.pid} (")
    assert words.endswith("; waiting")
    assert heard(40, lambda holder: holder.pid == measuring.process.pid) == []


def test_without_a_folder_for_leases_nothing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(lease, "shared_folder", lambda: tmp_path / "file")
    monkeypatch.setattr(lease, "own_folder", lambda: tmp_path / "file" / "own")
    with shared_lease(CPU) as shared:
        shared.make_way()
    assert shared.waited_seconds == 0
