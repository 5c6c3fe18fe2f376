"""Sensors of a measurement: the clock, and the work of other processes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Protocol

import torch

from search.hardware.cpu import CpuTimes, affinity, read_cpu, read_times
from search.hardware.nvml import gpu_reader


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
    """State of a device at one moment; None and empty if unknown.

    `busy_seconds` is how long this process has computed so far, on one thread. `foreign` names
    other processes that compute on the device, `idle` those that only have a place on it,
    `throttled` why it runs slower than it could.
    `cpu` are the times of the `cpus` that this process may use with `threads` threads.
    """

    busy_seconds: float | None = None
    foreign: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    throttled: tuple[str, ...] = ()
    cpu: CpuTimes | None = None
    cpus: int = 0
    threads: int = 1


class Sensors(Protocol):
    def synchronise(self) -> None:
        """Waits until the device has done all that was asked of it."""
        ...

    def read(self) -> Reading: ...

    def mark(self) -> object | None:
        """A point in the device's own queue of work; None if it has none."""
        ...

    def seconds_between(self, start: object | None, end: object | None) -> float | None:
        """The device's own time between two marks, after a `synchronise`."""
        ...


class CpuSensors:
    """CPU times: this process's tells own work from foreign work block by block if it has one
    thread, those of its CPUs over a whole sample whatever it has."""

    def synchronise(self) -> None:
        pass

    def read(self) -> Reading:
        threads, cpus = torch.get_num_threads(), affinity()
        times = read_times(cpus)
        busy = times.own if threads == 1 else None
        return Reading(busy_seconds=busy, cpu=times, cpus=len(cpus), threads=threads)

    def mark(self) -> object | None:
        return None

    def seconds_between(self, start: object | None, end: object | None) -> float | None:
        return None


class CudaSensors:
    """A CUDA device with its events; NVML says who else is there, if it can be asked."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._reader = gpu_reader(device)

    def synchronise(self) -> None:
        torch.cuda.synchronize(self._device)

    def read(self) -> Reading:
        gpu = self._reader.read()
        if gpu is None:
            return Reading()
        perhaps = ", perhaps idle" if gpu.idle_unknown else ""
        foreign = tuple(f"{other.name} ({other.pid}{perhaps})" for other in gpu.foreign or ())
        idle = tuple(f"{other.name} ({other.pid})" for other in gpu.idle)
        return Reading(foreign=foreign, idle=idle, throttled=gpu.slowdowns)

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
    """Return what a throughput depends on besides the model: device, versions, threads, TF32."""
    cpu = read_cpu()
    facts: dict[str, object] = {
        "device": device.type,
        "device_name": cpu.name,
        "cpus": len(cpu.cpus),
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
        reader = gpu_reader(device)
        gpu = reader.read()
        facts["gpu"] = reader.reason if gpu is None else gpu.to_data()
    else:
        facts |= {
            "governors": cpu.governors,
            "quota": cpu.quota,
            "load_average": cpu.load_average,
            "shared_cores": cpu.shared_cores,
        }
    return facts
