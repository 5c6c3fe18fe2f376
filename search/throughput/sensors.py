"""What a measurement reads besides the model: the clock, and who else is at work."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Protocol

import torch


class Clock(Protocol):
    def now(self) -> float:
        """Seconds of a clock that only moves forward."""
        ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Reading:
    """What can be seen of a device at one moment; None and empty where it cannot be told.

    `busy_seconds` is how long this process has computed so far, on one thread. `foreign` names
    other processes that compute on the device, `throttled` why it runs slower than it could.
    """

    busy_seconds: float | None = None
    foreign: tuple[str, ...] = ()
    throttled: tuple[str, ...] = ()


class Sensors(Protocol):
    def synchronise(self) -> None:
        """Waits until the device has done all that was asked of it."""
        ...

    def read(self) -> Reading: ...

    def mark(self) -> object | None:
        """A point in the device's own queue of work; None where it has none."""
        ...

    def seconds_between(self, start: object | None, end: object | None) -> float | None:
        """The device's own time between two marks, after a `synchronise`."""
        ...


class CpuSensors:
    """CPU time of this process, which tells own work from foreign work with one thread only."""

    def synchronise(self) -> None:
        pass

    def read(self) -> Reading:
        one_thread = torch.get_num_threads() == 1
        return Reading(busy_seconds=time.process_time() if one_thread else None)

    def mark(self) -> object | None:
        return None

    def seconds_between(self, start: object | None, end: object | None) -> float | None:
        return None


class CudaSensors:
    """A CUDA device with its events."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def synchronise(self) -> None:
        torch.cuda.synchronize(self._device)

    def read(self) -> Reading:
        return Reading()

    def mark(self) -> object | None:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds_between(self, start: object | None, end: object | None) -> float | None:
        if not isinstance(start, torch.cuda.Event) or not isinstance(end, torch.cuda.Event):
            return None
        return start.elapsed_time(end) / 1000


def device_sensors(device: torch.device) -> Sensors:
    return CudaSensors(device) if device.type == "cuda" else CpuSensors()


def environment(device: torch.device) -> dict[str, object]:
    """What a throughput depends on besides the model: device, versions, threads, TF32."""
    facts: dict[str, object] = {
        "device": device.type,
        "device_name": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "host": os.uname().nodename if hasattr(os, "uname") else "",
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "device_name": properties.name,
            "device_uuid": str(getattr(properties, "uuid", "")),
            "compute_capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
        }
    return facts


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else "unknown CPU"
