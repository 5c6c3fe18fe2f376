"""State of the CPU that a throughput depends on, and the work of other processes.

Read from /proc and /sys, every part None if its file is missing. The kernel counts CPU time in
ticks, 10 ms as a rule: over a block much shorter than a second, foreign work cannot be told from
rounding.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from search.hardware.cgroup import cpu_quota, throttled_seconds

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
_IDLE, _IOWAIT, _STEAL, _COUNTED = 3, 4, 7, 8  # columns of a CPU in /proc/stat; behind: guests
_CONTAINERS = ("docker", "kubepods", "containerd", "lxc", "libpod")


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuTimes:
    """CPU seconds so far: of all on the CPUs, taken by the hypervisor, of this process.

    `own` counts all threads of this process and none of its children. `throttled` is how long
    the container's quota has held it back.
    """

    busy: float | None
    stolen: float | None
    own: float
    throttled: float | None

    def to_data(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuReading:
    """The state of the CPUs that this process may run on, at one moment.

    `shared_cores` are groups of these CPUs that are threads of one core. `governors` are those
    in force on them; `frequency_mhz` is the lowest of theirs just now. `load_average` is of the
    whole machine over a minute, `machine_cpus` how many it has. `quota` is in CPUs.
    """

    name: str
    cpus: tuple[int, ...]
    machine_cpus: int | None
    shared_cores: tuple[tuple[int, ...], ...] | None
    governors: tuple[str, ...] | None
    frequency_mhz: float | None
    load_average: float | None
    quota: float | None
    container: str | None
    virtual: bool | None
    swap_used_bytes: int | None
    times: CpuTimes

    def to_data(self) -> dict[str, Any]:
        return asdict(self)


def read_cpu(root: Path = Path("/")) -> CpuReading:
    """Everything, in some milliseconds; `read_times` is what to call around a block."""
    cpus = affinity()
    info = _text(root / "proc/cpuinfo") or ""
    governors = {_cpu_file(root, cpu, "cpufreq/scaling_governor") for cpu in cpus} - {None}
    return CpuReading(
        name=_name(info),
        cpus=cpus,
        machine_cpus=_machine_cpus(root),
        shared_cores=_shared_cores(root, cpus),
        governors=tuple(sorted(word for word in governors if word)) or None,
        frequency_mhz=_frequency(root, info, cpus),
        load_average=_load_average(root),
        quota=cpu_quota(root),
        container=_container(root),
        virtual=" hypervisor" in info if info else None,
        swap_used_bytes=_swap_used(root),
        times=read_times(cpus, root),
    )


def read_times(
    cpus: Collection[int],
    root: Path = Path("/"),
    own: Callable[[], float] = time.process_time,
) -> CpuTimes:
    """The CPU seconds of `cpus` so far."""
    busy, stolen = 0, 0
    text = _text(root / "proc/stat")
    found = 0
    for line in (text or "").splitlines():
        label, *counts = line.split()
        if not (label.startswith("cpu") and label[3:].isdigit() and int(label[3:]) in cpus):
            continue
        ticks = [int(count) for count in counts[:_COUNTED]]
        ticks += [0] * (_COUNTED - len(ticks))
        stolen += ticks[_STEAL]
        busy += sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT] - ticks[_STEAL]
        found += 1
    known = found == len(cpus) > 0
    return CpuTimes(
        busy=busy * TICK_SECONDS if known else None,
        stolen=stolen * TICK_SECONDS if known else None,
        own=own(),
        throttled=throttled_seconds(root),
    )


def foreign_seconds(before: CpuTimes, after: CpuTimes) -> float | None:
    """CPU seconds that others had on the CPUs in between, the kernel's interrupts included.

    Good to a tick (TICK_SECONDS) for each CPU, and never below 0. None if /proc/stat is
    missing, or does not count: then not even this process's own time is in it.
    """
    if before.busy is None or after.busy is None:
        return None
    busy, own = after.busy - before.busy, after.own - before.own
    if busy == 0 and own > 3 * TICK_SECONDS:
        return None
    return max(0.0, busy - own)


def stolen_seconds(before: CpuTimes, after: CpuTimes) -> float | None:
    """CPU seconds in between that the hypervisor gave to other machines; good to a tick."""
    if before.stolen is None or after.stolen is None:
        return None
    return max(0.0, after.stolen - before.stolen)


def affinity() -> tuple[int, ...]:
    """The CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def ranges(cpus: Collection[int]) -> str:
    """CPU numbers as the kernel writes them: 0-3,8."""
    parts: list[list[int]] = []
    for cpu in sorted(cpus):
        if parts and cpu == parts[-1][-1] + 1:
            parts[-1].append(cpu)
        else:
            parts.append([cpu])
    return ",".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)


def _text(file: Path) -> str | None:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return None


def _cpu_file(root: Path, cpu: int, name: str) -> str | None:
    text = _text(root / f"sys/devices/system/cpu/cpu{cpu}" / name)
    return text.strip() if text is not None else None


def _field(info: str, name: str) -> list[str]:
    lines = (line.partition(":") for line in info.splitlines())
    return [value.strip() for key, _, value in lines if key.strip() == name]


def _name(info: str) -> str:
    for field in ("model name", "Model", "cpu model", "Hardware"):  # the latter on Arm and others
        if names := _field(info, field):
            return names[0]
    return platform.processor() or platform.machine() or "unknown CPU"


def _machine_cpus(root: Path) -> int | None:
    lines = (_text(root / "proc/stat") or "").splitlines()
    return sum(line[:3] == "cpu" and line[3:4].isdigit() for line in lines) or os.cpu_count()


def _shared_cores(root: Path, cpus: tuple[int, ...]) -> tuple[tuple[int, ...], ...] | None:
    cores: dict[str, list[int]] = {}
    for cpu in cpus:
        siblings = _cpu_file(root, cpu, "topology/thread_siblings_list")
        if siblings is None:
            return None
        cores.setdefault(siblings, []).append(cpu)
    return tuple(tuple(core) for core in cores.values() if len(core) > 1)


def _frequency(root: Path, info: str, cpus: tuple[int, ...]) -> float | None:
    kilohertz = [_cpu_file(root, cpu, "cpufreq/scaling_cur_freq") for cpu in cpus]
    found = [int(text) / 1000 for text in kilohertz if text is not None and text.isdigit()]
    if found:
        return min(found)
    numbers, megahertz = _field(info, "processor"), _field(info, "cpu MHz")
    pairs = zip(numbers, megahertz, strict=False)
    found = [float(speed) for number, speed in pairs if number.isdigit() and int(number) in cpus]
    return min(found, default=None)


def _load_average(root: Path) -> float | None:
    text = _text(root / "proc/loadavg")
    return float(text.split()[0]) if text else None


def _container(root: Path) -> str | None:
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    said = _text(root / "run/systemd/container") or _text(root / "proc/1/cgroup") or ""
    return next((word for word in _CONTAINERS if word in said), None)


def _swap_used(root: Path) -> int | None:
    info = _text(root / "proc/meminfo") or ""
    kilobytes = [_field(info, name) for name in ("SwapTotal", "SwapFree")]
    if not all(kilobytes):
        return None
    total, free = (int(values[0].split()[0]) for values in kilobytes)
    return (total - free) * 1024
