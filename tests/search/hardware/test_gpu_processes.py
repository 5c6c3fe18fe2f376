from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from fake_nvml import CUDA, FOREIGN, NOW, SECOND, UUID, FakeNvml

from search.hardware.gpu_processes import WINDOW_MICROSECONDS, GpuProcess
from search.hardware.nvml import GpuReading, gpu_reader
from search.throughput.sensors import CudaSensors


def sample(pid: int, sm: int = 50, *, ago: int = SECOND, encoder: int = 0) -> SimpleNamespace:
    shares = {"smUtil": sm, "memUtil": 0, "encUtil": encoder, "decUtil": 0}
    return SimpleNamespace(pid=pid, timeStamp=NOW - ago, **shares)


OWN = sample(os.getpid(), 97)


def watched(nvml: FakeNvml, clock: list[int] | None = None) -> Callable[[], GpuReading]:
    """Reads the GPU at the times of `clock`, at NOW without one."""
    reader = gpu_reader(CUDA, nvml, now=lambda: clock[-1] if clock is not None else NOW)

    def read() -> GpuReading:
        reading = reader.read()
        assert reading is not None
        return reading

    return read


def pids(processes: tuple[GpuProcess, ...] | None) -> list[int]:
    assert processes is not None
    return [process.pid for process in processes]


@pytest.mark.parametrize(
    ("others", "foreign", "idle"),
    [
        ([], [], [FOREIGN, FOREIGN + 1]),
        ([sample(FOREIGN)], [FOREIGN], [FOREIGN + 1]),
        ([sample(FOREIGN, 0)], [], [FOREIGN, FOREIGN + 1]),
        ([sample(FOREIGN, 0, encoder=3)], [FOREIGN], [FOREIGN + 1]),
        ([sample(FOREIGN, 2**31 - 16)], [FOREIGN], [FOREIGN + 1]),
        ([sample(FOREIGN, ago=WINDOW_MICROSECONDS - 1)], [FOREIGN], [FOREIGN + 1]),
        ([sample(FOREIGN, ago=WINDOW_MICROSECONDS)], [], [FOREIGN, FOREIGN + 1]),
        ([sample(FOREIGN, 0), sample(FOREIGN, 1)], [FOREIGN], [FOREIGN + 1]),
        ([sample(FOREIGN + 7, 60), sample(0, 2**31)], [], [FOREIGN, FOREIGN + 1]),
    ],
    ids=[
        "no sample", "work", "a share of 0", "an encoder", "far above 100 %", "just within 2 s",
        "2 s ago", "two samples", "samples of nobody in the list",
    ],
)  # fmt: skip
def test_where_the_driver_shows_own_work_who_computes_is_told_from_who_is_idle(
    nvml: FakeNvml, others: list[SimpleNamespace], foreign: list[int], idle: list[int]
) -> None:
    nvml.pids = [os.getpid(), FOREIGN, FOREIGN + 1]
    nvml.samples = [*others, OWN]
    reading = watched(nvml)()
    assert pids(reading.foreign) == foreign
    assert pids(reading.idle) == idle
    assert reading.idle_unknown == ""
    assert ("utilisation", "handle", NOW - 2 * SECOND) in nvml.asked


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [sample(FOREIGN)],
        [sample(os.getpid(), 0)],
        [sample(os.getpid(), 101)],
        [sample(os.getpid(), 50, encoder=2**31)],
        [sample(os.getpid(), ago=3 * SECOND)],
        [sample(os.getppid())],
    ],
    ids=[
        "nothing found", "another's work", "no own work", "above 100 %", "an impossible encoder",
        "older than asked for", "another of the family",
    ],
)  # fmt: skip
def test_a_driver_that_does_not_show_own_work_is_not_believed_to_show_idleness(
    nvml: FakeNvml, samples: list[SimpleNamespace]
) -> None:
    nvml.pids = [os.getpid(), FOREIGN]
    nvml.samples = samples
    reading = watched(nvml)()
    assert pids(reading.foreign) == [FOREIGN]
    assert reading.idle == ()
    assert "shows no work of this process" in reading.idle_unknown


def test_a_driver_that_was_believed_is_believed_no_longer_than_it_shows_own_work(
    nvml: FakeNvml,
) -> None:
    nvml.pids = [os.getpid(), FOREIGN]
    nvml.samples = [OWN]
    read = watched(nvml)
    assert pids(read().foreign) == []
    nvml.samples = []
    assert pids(read().foreign) == [FOREIGN]


@pytest.mark.parametrize("uuid", [f"GPU-{UUID}", f"MIG-{UUID}"])
def test_of_mig_nobody_is_asked_who_works(nvml: FakeNvml, uuid: str) -> None:
    nvml.uuid, nvml.mig = uuid, int(uuid.startswith("GPU"))
    nvml.pids = [os.getpid(), FOREIGN]
    nvml.samples = [OWN]
    reading = watched(nvml)()
    assert pids(reading.foreign) == [FOREIGN]
    assert "MIG" in reading.idle_unknown
    assert not [asked for asked in nvml.asked if asked[0] == "utilisation"]


def test_in_a_container_with_pids_of_its_own_samples_change_nothing(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 2**20)
    nvml.pids = [FOREIGN, FOREIGN + 1]
    nvml.samples = [OWN]
    reading = watched(nvml)()
    assert reading.foreign is None
    assert reading.idle == ()


def test_who_has_come_since_the_last_reading_is_foreign_until_samples_have_had_their_time(
    nvml: FakeNvml,
) -> None:
    nvml.pids = [os.getpid()]
    nvml.samples = [OWN]
    clock = [NOW - SECOND]
    read = watched(nvml, clock)
    read()
    nvml.pids.append(FOREIGN)
    for now, foreign in ((NOW, [FOREIGN]), (NOW + SECOND, [FOREIGN]), (NOW + 2 * SECOND, [])):
        clock.append(now)
        nvml.samples[0].timeStamp = now
        assert pids(read().foreign) == foreign


def test_who_has_gone_since_the_last_reading_is_foreign_where_it_has_worked(
    nvml: FakeNvml,
) -> None:
    nvml.pids = [os.getpid(), FOREIGN, FOREIGN + 1]
    nvml.samples = [OWN]
    read = watched(nvml)
    assert pids(read().foreign) == []
    nvml.pids = [os.getpid()]
    nvml.samples = [OWN, sample(FOREIGN)]
    reading = read()
    assert pids(reading.foreign) == [FOREIGN]
    assert reading.idle == ()
    assert pids(read().foreign) == []


def test_idle_processes_are_seen_beside_a_block_and_do_not_spoil_it(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = gpu_reader(CUDA, nvml, now=lambda: NOW)
    monkeypatch.setattr("search.throughput.sensors.gpu_reader", lambda _device: reader)
    sensors = CudaSensors(CUDA)
    nvml.pids = [os.getpid(), FOREIGN]
    assert sensors.read().foreign == (f"/usr/bin/other? ({FOREIGN}, perhaps idle)",)
    nvml.samples = [OWN]
    assert sensors.read().foreign == ()
    assert sensors.read().idle == (f"/usr/bin/other? ({FOREIGN})",)
    nvml.samples = [OWN, sample(FOREIGN)]
    assert sensors.read().foreign == (f"/usr/bin/other? ({FOREIGN})",)
    assert sensors.read().idle == ()
