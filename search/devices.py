"""Devices by name, their memory, and the errors that say it was not enough.

Importing this module does not import torch: settings are checked without it.
"""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from metaformer.errors import shorten
from mixers import MixerFault
from mixers.errors import nearest
from search.errors import EnvironmentProblem, UsageError

if TYPE_CHECKING:
    import torch

GIB = 2**30  # bytes
TENSOR_CAPABILITY = (8, 0)  # of CUDA devices that have TF32 and bf16
_DEVICE_NAME = r"auto|cpu|cuda(:\d+)?"
_DRIVER_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/nvhost-gpu", "/dev/dxg", "/dev/kfd")
_MEMORY_WORDS = ("can't allocate memory", "not enough memory", "_STATUS_ALLOC_FAILED")


def device_memory_bytes(device: torch.device, root: Path = Path("/")) -> int:
    """Memory in bytes that a process can use on `device`.

    The GPU's; else the machine's, within the limits of the process and of its control groups,
    which are read below `root`.
    """
    import torch

    from search.hardware.cgroup import memory_limit

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    of_the_group = memory_limit(root)
    if of_the_group is not None:
        limits.append(of_the_group)
    return min(limits)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether `error` says, by its type or in torch's words, that memory ran out."""
    if isinstance(error, MixerFault) and error.__cause__ is not None:
        return is_out_of_memory(error.__cause__)
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = str(error)
    return isinstance(error, RuntimeError) and any(said in words for said in _MEMORY_WORDS)


def gigabytes(count: int) -> str:
    return f"{count / GIB:.1f} GiB"


def device_name_problem(name: object) -> str:
    """Return what is wrong with the name of a device: got, and allowed; empty if nothing is."""
    if isinstance(name, str) and re.fullmatch(_DEVICE_NAME, name):
        return ""
    close = nearest(str(name).lower(), ("auto", "cpu", "cuda"))
    return f"got {shorten(name)}; allowed: auto, cpu, cuda, cuda:N{close}"


def require_device(name: str) -> torch.device:
    """Return the device that `auto`, `cpu`, `cuda` or `cuda:N` names.

    Raises:
        UsageError: It is none of these names.
        EnvironmentProblem: The device is not here.
    """
    if problem := device_name_problem(name):
        raise UsageError(f"device: {problem}")

    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        index = int(name.partition(":")[2] or 0)
        if index >= count:
            there = ", ".join(["auto", "cpu", *(f"cuda:{number}" for number in range(count))])
            words = "" if count else " (no CUDA device here)"
            raise EnvironmentProblem(f"device: got {name}; allowed: {there}{words}")
        return torch.device("cuda", index)
    return torch.device("cpu")


def compute_capability(device: torch.device) -> tuple[int, int] | None:
    """Of a CUDA device; None if CUDA is not to be had, as on the machine that reads a study."""
    import torch

    return torch.cuda.get_device_capability(device) if torch.cuda.is_available() else None


def may_have_cuda() -> bool:
    """Return whether this machine may have a CUDA device, by its drivers' files, without torch."""
    return any(Path(file).exists() for file in _DRIVER_FILES)


def precision_problem(precision: str, device: torch.device) -> str:
    """Why `device` has no such precision: got, and allowed; empty if it has.

    Before capability 8.0 torch computes bf16 in fp32, slowly, and takes TF32 for fp32, silently.
    """
    if device.type == "cpu":
        lacks = precision in ("tf32", "fp16")
        return f"got {precision} on a CPU; allowed: fp32, bf16" if lacks else ""
    capability = compute_capability(device)
    if precision not in ("tf32", "bf16") or capability is None or capability >= TENSOR_CAPABILITY:
        return ""
    here = f"a CUDA device of compute capability {capability[0]}.{capability[1]}"
    return f"got {precision} on {here}; allowed below 8.0: fp32, fp16"
