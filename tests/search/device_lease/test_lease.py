from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from search.device_lease import _lock_table as held_locks
from search.device_lease import lease
from search.device_lease.lease import LeaseTimeout, device_keys, device_lease, lease_holders
from search.device_lease.lock_files import Holder, LeaseFolder
from search.hardware.process_tree import start_ticks

CPU = torch.device("cpu")


class Other:
    """Another process that takes the lease of these CPUs and holds it until it is told to end.

    It is a fork of this one, whose leases it does not inherit; `foreign` keeps it from entering
    them as a child may.
    """

    def __init__(self, cpus: set[int], wait: float, foreign: bool) -> None:
        self._ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("fork")
        self.process: BaseProcess = context.Process(
            target=_hold, args=(theirs, cpus, wait, foreign), daemon=True
        )
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def says(self) -> str:
        """`held`, or why it could not be had."""
        assert self._ours.poll(60)
        return str(self._ours.recv())

    def end(self) -> None:
        self._ours.send("end")
        self.process.join(60)


def _hold(pipe: Connection, cpus: set[int], wait: float, foreign: bool) -> None:
    os.sched_getaffinity = lambda _pid: cpus
    if foreign:
        held_locks.is_ancestor = lambda _holder: False
    try:
        with device_lease(CPU, wait_seconds=wait):
            pipe.send("held")
            pipe.recv()
    except LeaseTimeout as error:
        pipe.send(str(error))


Start = Callable[..., Other]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shared = tmp_path / "leases"
    monkeypatch.setattr(lease, "shared_folder", lambda: shared)
    monkeypatch.setattr(lease, "own_folder", lambda: tmp_path / "own" / "leases")
    return shared


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    started = []

    def go(*cpus: int, wait: float = 0, foreign: bool = True) -> Other:
        started.append(Other(set(cpus), wait, foreign))
        return started[-1]

    yield go
    for other in started:
        other.process.kill()
        other.process.join()


@contextmanager
def on_cpus(monkeypatch: pytest.MonkeyPatch, *cpus: int) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _pid: set(cpus))
        yield


class Time:
    """A clock that sleeping moves; `at` is called when it has come so far."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def test_two_processes_exclude_each_other_and_the_message_names_the_holder(start: Start) -> None:
    holder = start(0, 1)
    assert holder.says() == "held"
    words = start(0, 1).says()
    assert words.startswith(f"CPU 0 is leased by process {holder.pid} (")
    assert " since 20" in words
    assert words.endswith("waited 0 s for it")


def test_overlapping_sets_exclude_each_other_and_disjoint_ones_do_not(start: Start) -> None:
    assert start(0, 2).says() == "held"
    assert start(1, 3).says() == "held"
    assert start(2, 4).says().startswith("CPU 2 is leased by")
    assert start(3).says().startswith("CPU 3 is leased by")
    assert start(4).says() == "held"


def test_who_waits_gets_the_lease_when_its_holder_ends(start: Start) -> None:
    holder = start(0)
    assert holder.says() == "held"
    waiting = start(0, wait=60)
    holder.end()
    assert waiting.says() == "held"


def test_a_killed_holder_leaves_nothing_behind(start: Start) -> None:
    holder = start(0)
    assert holder.says() == "held"
    os.kill(holder.pid, signal.SIGKILL)
    holder.process.join()
    assert start(0).says() == "held"


def test_what_was_taken_is_given_back_when_the_rest_cannot_be_had(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start(1).says() == "held"
    with on_cpus(monkeypatch, 0, 1), pytest.raises(LeaseTimeout), device_lease(CPU, wait_seconds=0):
        pass
    assert start(0).says() == "held"


def test_a_process_may_take_its_own_lease_again_and_has_it_until_the_last_is_given_back(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_cpus(monkeypatch, 0), device_lease(CPU, wait_seconds=0):
        with on_cpus(monkeypatch, 0, 1), device_lease(CPU, wait_seconds=0) as wider:
            assert wider.keys == ("cpu-00000", "cpu-00001")
            assert start(1).says().startswith("CPU 1 is leased by")
        assert start(1).says() == "held"
        assert start(0).says().startswith("CPU 0 is leased by")
    assert start(0).says() == "held"


def test_a_child_enters_the_lease_of_the_process_it_descends_from(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_cpus(monkeypatch, 0), device_lease(CPU, wait_seconds=0):
        assert start(0, foreign=False).says() == "held"


def test_a_holder_that_only_has_the_pid_of_an_ancestor_is_foreign() -> None:
    parent = Holder(os.getppid(), "x", "y", start_ticks(os.getppid()))
    assert held_locks.is_ancestor(parent)
    assert not held_locks.is_ancestor(Holder(os.getppid(), "x", "y", 1))
    assert not held_locks.is_ancestor(Holder(os.getpid() + 1, "x", "y", 1))
    assert not held_locks.is_ancestor(None)


def test_a_forked_child_does_not_keep_what_its_parent_gave_back(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_cpus(monkeypatch, 0), device_lease(CPU, wait_seconds=0):
        assert start(5).says() == "held"
    assert start(0).says() == "held"


def test_waiting_says_for_whom_asks_whether_to_go_on_and_ends_in_time(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = start(0)
    assert holder.says() == "held"
    clock, heard, checks = Time(), list[str](), list[int]()
    waiting = device_lease(
        CPU,
        wait_seconds=7,
        on_wait=heard.append,
        check=lambda: checks.append(1),
        now=clock.now,
        sleep=clock.sleep,
    )
    with on_cpus(monkeypatch, 0), pytest.raises(LeaseTimeout) as caught, waiting:
        pass
    assert caught.value.holder is not None
    assert caught.value.holder.pid == holder.pid
    assert clock.seconds == pytest.approx(7)
    assert len(heard) == 1
    assert "waiting up to 7 s" in heard[0]
    assert len(checks) > 30


def test_a_holder_that_takes_the_lease_again_and_again_is_named_once(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start(0).says() == "held"
    moments = iter(range(1000))

    def holder(_self: LeaseFolder, _key: str) -> Holder | None:
        since = next(moments)
        return Holder(7, "search run", str(since)) if since % 3 else None

    monkeypatch.setattr(LeaseFolder, "holder", holder)
    clock, heard = Time(), list[str]()
    waiting = device_lease(
        CPU, wait_seconds=7, on_wait=heard.append, now=clock.now, sleep=clock.sleep
    )
    with on_cpus(monkeypatch, 0), pytest.raises(LeaseTimeout), waiting:
        pass
    assert sum("process 7 " in words for words in heard) == 1
    assert len(heard) == 2  # before that, of one that was not known


def test_the_check_may_end_the_waiting(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    assert start(0).says() == "held"

    def interrupted() -> None:
        raise KeyboardInterrupt

    waiting = device_lease(CPU, wait_seconds=60, check=interrupted)
    with on_cpus(monkeypatch, 0), pytest.raises(KeyboardInterrupt), waiting:
        pass


def test_who_holds_it_can_be_asked(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_cpus(monkeypatch, 0, 1):
        assert lease_holders(CPU) == {}
        holder = start(1)
        assert holder.says() == "held"
        (name, who), *others = lease_holders(CPU).items()
    assert (name, others) == ("CPU 1", [])
    assert who is not None
    assert who.pid == holder.pid


def test_a_gpu_is_named_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    def properties(_device: torch.device) -> object:
        return type("Properties", (), {"uuid": "MIG-1234/../5"})()

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    assert device_keys(torch.device("cuda", 1)) == ("gpu-MIG-1234____5",)
