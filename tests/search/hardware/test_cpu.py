from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from search.hardware.cpu import (
    TICK_SECONDS,
    CpuTimes,
    affinity,
    foreign_seconds,
    ranges,
    read_cpu,
    read_times,
    stolen_seconds,
)

CPUINFO = """\
processor\t: {}
model name\t: AMD EPYC 9654
cpu MHz\t\t: {}
flags\t\t: fpu hypervisor avx2
"""
#                    user nice system idle iowait irq softirq steal guest guest_nice
STAT = """\
cpu  999 9 9 9 9 9 9 9 9 9
cpu0 100 10 20 5000 300 1 2 40 77 7
cpu1 200 0 0 5000 0 0 0 0 0 0
cpu10 900 0 0 0 0 0 0 900 0 0
intr 1 2 3
"""


def put(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {1, 0})
    put(tmp_path, "proc/cpuinfo", "\n".join(CPUINFO.format(n, 2000 + n) for n in range(3)))
    put(tmp_path, "proc/stat", STAT)
    put(tmp_path, "proc/loadavg", "0.75 0.5 0.25 1/300 999\n")
    put(tmp_path, "proc/meminfo", "MemTotal: 9 kB\nSwapTotal:  1000 kB\nSwapFree:  400 kB\n")
    return tmp_path


def times(busy: float | None, own: float, stolen: float | None = 0.0) -> CpuTimes:
    return CpuTimes(busy=busy, stolen=stolen, own=own, throttled=None)


def test_a_machine_is_described_over_the_cpus_that_this_process_may_use(machine: Path) -> None:
    for cpu, governor in enumerate(("performance", "powersave")):
        put(machine, f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor", f"{governor}\n")
        put(
            machine, f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq", f"{3 - cpu}100000"
        )
        put(machine, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", "0-1\n")
    put(machine, ".dockerenv", "")
    reading = read_cpu(machine)
    assert reading.name == "AMD EPYC 9654"
    assert reading.cpus == (0, 1)
    assert reading.machine_cpus == 3
    assert reading.shared_cores == ((0, 1),)
    assert reading.governors == ("performance", "powersave")
    assert reading.frequency_mhz == 2100
    assert reading.load_average == 0.75
    assert reading.container == "docker"
    assert reading.virtual is True
    assert reading.swap_used_bytes == 600 * 1024
    json.dumps(reading.to_data())


def test_threads_of_cores_that_others_have_are_not_shared(machine: Path) -> None:
    for cpu, siblings in enumerate(("0,64", "1,65")):
        put(machine, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", siblings)
    assert read_cpu(machine).shared_cores == ()


def test_without_cpufreq_the_frequency_is_that_of_cpuinfo(machine: Path) -> None:
    reading = read_cpu(machine)
    assert (reading.frequency_mhz, reading.governors, reading.shared_cores) == (2000, None, None)


def test_where_no_file_is_to_be_had_all_is_none(tmp_path: Path) -> None:
    reading = read_cpu(tmp_path)
    assert reading.name
    assert reading.cpus == affinity()
    for name in ("shared_cores", "governors", "frequency_mhz", "load_average", "quota"):
        assert getattr(reading, name) is None
    assert reading.container is reading.virtual is reading.swap_used_bytes is None
    assert reading.times.busy is reading.times.stolen is reading.times.throttled is None


def test_busy_is_what_is_neither_idle_nor_stolen_and_guests_count_once(machine: Path) -> None:
    read = read_times((0, 1), machine, own=lambda: 1.5)
    assert read.busy == pytest.approx((100 + 10 + 20 + 1 + 2 + 200) * TICK_SECONDS)
    assert read.stolen == pytest.approx(40 * TICK_SECONDS)
    assert read.own == 1.5


def test_a_cpu_that_is_not_counted_makes_the_times_unknown(machine: Path) -> None:
    assert read_times((0, 7), machine).busy is None


def test_foreign_is_what_was_busy_less_what_this_process_computed() -> None:
    assert foreign_seconds(times(10, 1), times(13, 2.5)) == pytest.approx(1.5)
    assert foreign_seconds(times(10, 1), times(10.99, 2)) == 0
    assert foreign_seconds(times(10, 1), times(10, 1 + TICK_SECONDS)) == 0
    assert stolen_seconds(times(1, 1, 2), times(1, 1, 2.5)) == 0.5


def test_a_kernel_that_does_not_count_cannot_tell() -> None:
    assert foreign_seconds(times(0, 1), times(0, 2)) is None
    assert foreign_seconds(times(None, 1), times(3, 2)) is None
    assert stolen_seconds(times(1, 1, None), times(1, 2, 3)) is None


def test_own_work_on_this_machine_is_not_foreign() -> None:
    before = read_times(affinity())
    start = time.process_time()
    while time.process_time() < start + 0.3:
        pass
    after = read_times(affinity())
    if before.busy is None or after.busy is None:
        pytest.skip("no /proc/stat")
    assert after.own - before.own >= 0.3
    assert after.busy - before.busy >= 0.3 - 2 * TICK_SECONDS * len(affinity())


def test_numbers_of_cpus_are_shown_as_ranges() -> None:
    assert ranges({0, 1, 2, 8, 10, 11}) == "0-2,8,10-11"
    assert ranges(()) == ""
