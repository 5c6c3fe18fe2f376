"""What a measurement reads besides the model: the clock, and who else is at work."""

from __future__ import annotations

import os
import time
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


class Sensors(Protocol):
    def synchronise(self) -> None:
        """Waits until the device has done all that was asked of it."""
        ...

    def busy_seconds(self) -> float | None:
        """Seconds that this process computed so far; None where that cannot be told."""
        ...


class CpuSensors:
    """CPU time of this process, which tells own work from foreign work with one thread only."""

    def synchronise(self) -> None:
        pass

    def busy_seconds(self) -> float | None:
        return time.process_time() if torch.get_num_threads() == 1 else None


class CudaSensors:
    """A CUDA device; foreign work on it is not looked for."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def synchronise(self) -> None:
        torch.cuda.synchronize(self._device)

    def busy_seconds(self) -> float | None:
        return None


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
