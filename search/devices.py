"""Which device a name means, how much memory it has, and which errors say it was not enough."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import torch

from search.errors import EnvironmentProblem

DEVICE_NAME = r"auto|cpu|cuda(:\d+)?"
_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "_STATUS_ALLOC_FAILED")
_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def device_memory_bytes(device: torch.device) -> int:
    """Memory that a process can use on `device`: the GPU's, or the machine's within its limits."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    for file in _CGROUP_LIMITS:
        try:
            text = file.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says, by its type or in torch's words, that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = str(error)
    return isinstance(error, RuntimeError) and any(said in words for said in _MEMORY_WORDS)


def gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def require_device(name: str) -> torch.device:
    """`auto`, `cpu`, `cuda` or `cuda:N` as a device; EnvironmentProblem where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(name.partition(":")[2] or 0)
        if index >= count:
            raise EnvironmentProblem(f"device: got {name}; CUDA devices here: {count}")
        return torch.device("cuda", index)
    return torch.device("cpu")
