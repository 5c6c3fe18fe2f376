"""The devices of a study's workers: which there may be together, and who computes on which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from search.config.study import StudyConfig
from search.devices import require_device
from search.errors import UsageError
from search.hardware.cpu import affinity
from search.storage.records import TrialRecord


def require_alike(names: Sequence[str]) -> tuple[torch.device, ...]:
    """The devices; EnvironmentProblem if one is not there, UsageError if several have not
    one name, since no verdict holds for another."""
    devices = tuple(require_device(name) for name in names)
    if len(devices) < 2:
        return devices
    kinds = {str(device): torch.cuda.get_device_name(device) for device in devices}
    if len(set(kinds.values())) > 1:
        got = ", ".join(f"{device} ({kind})" for device, kind in kinds.items())
        raise UsageError(f"--devices: got {got}; allowed: devices of one name")
    return devices


def device_of_each(
    workers: int | None, devices: Sequence[torch.device]
) -> tuple[torch.device, ...]:
    """The device of each of so many workers, in turns; by default each device has one worker."""
    workers = len(devices) if workers is None else workers
    if workers < len(devices):
        named = ", ".join(str(device) for device in devices)
        words = f"allowed: {len(devices)} or more, one for each of {named}"
        raise UsageError(f"--workers: got {workers}; {words}")
    return tuple(devices[index % len(devices)] for index in range(workers))


def crowded(worker_devices: Sequence[torch.device], threads: int) -> str:
    """That several workers of so many threads want more CPUs than there are; else empty."""
    cpus, workers = len(affinity()), len(worker_devices)
    if workers <= 1 or worker_devices[0].type != "cpu" or workers * threads <= cpus:
        return ""
    each = f"{threads} thread{'s' if threads > 1 else ''}"
    return f"{workers} workers of {each} each on {cpus} CPUs: trainings slow each other down"


def on_its_gpu(config: StudyConfig, begun: dict[str, Any]) -> StudyConfig:
    """`config` with the CUDA device that study.yaml says the study was `begun` on, if it continues
    with another: which of them is no part of the study."""
    device = (begun.get("measure") or {}).get("device")
    if not (str(device).startswith("cuda") and config.measure.device.startswith("cuda")):
        return config
    measure = config.measure.model_copy(update={"device": device})
    return config.model_copy(update={"measure": measure})


def require_same_gpu(device: torch.device, records: Sequence[TrialRecord]) -> None:
    """UsageError if what is on record was measured on a CUDA device of another name."""
    if device.type != "cuda":
        return
    here = torch.cuda.get_device_name(device)
    for record in records:
        for measured in record.measurements:
            there = measured["environment"].get("device_name", here)
            if there != here:
                words = f"trial {record.number} was measured on {there}; allowed: a device like it"
                raise UsageError(f"device: got {device} ({here}); {words}")
