"""A roofline floor: the time that a step cannot go below on a device, whatever the kernels.

MACs over the best rate of arithmetic that the device was seen to reach, or bytes over the best
rate of memory, whichever takes longer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch.nn import functional as F

from search.profiling._work import Work, count_parts, count_work
from search.throughput.protocol import MeasurementProtocol, Precision
from search.throughput.workload import precision_of

__all__ = [
    "Rates",
    "Work",
    "arithmetic_floor",
    "bandwidth_floor",
    "count_parts",
    "count_work",
    "counts_own_time",
    "device_rates",
    "floor_seconds",
    "measure_rates",
    "most_images_per_second",
]

MAY_BE_FASTER = 1.5  # a device may reach more than it was seen to: other shapes, higher clocks
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
_BURST_SECONDS = 0.01
_CPU_SIDES = (384, 768)
_CUDA_SIDES = (4096, 8192)
_CPU_BYTES = (2**19, 2**20, 2**23)
_CUDA_BYTES = (2**28, 2**29)
_Kernel = tuple[int, Callable[[], object]]  # its work, MACs or bytes, and how to run it


@dataclass(frozen=True, slots=True)
class Rates:
    """The best that a device was seen to do.

    `bytes_per_second` holds for what does not fit into caches of `cache_bytes`; on a CPU, whose
    last cache is often shared and larger than any model, it is the rate of the fastest cache that
    copies of half a MiB and more can use, and `cache_bytes` is 0.
    """

    macs_per_second: float
    bytes_per_second: float
    cache_bytes: int = 0


def arithmetic_floor(work: Work, rates: Rates) -> float:
    """Seconds that the MACs take at the least."""
    return work.macs / rates.macs_per_second


def bandwidth_floor(work: Work, rates: Rates) -> float:
    """Seconds that the bytes take at the least; what caches can spare, writing and reading, is
    taken off."""
    return max(0, work.bytes - 2 * rates.cache_bytes) / rates.bytes_per_second


def floor_seconds(work: Work, rates: Rates) -> float:
    """The longer of both: arithmetic and memory may work at the same time."""
    return max(arithmetic_floor(work, rates), bandwidth_floor(work, rates))


def most_images_per_second(work: Work, rates: Rates, batch_size: int) -> float:
    """Images per second that no kernel exceeds on the device, were it half as fast again as seen.

    Infinite for a model without any work that counts.
    """
    seconds = floor_seconds(work, rates)
    return MAY_BE_FASTER * batch_size / seconds if seconds else math.inf


def device_rates(device: torch.device | str, precision: Precision = "fp32") -> Rates:
    """The rates of `device`, measured the first time that a process asks."""
    return _known(str(torch.device(device)), precision, torch.get_num_threads())


@cache
def _known(name: str, precision: Precision, _threads: int) -> Rates:
    return measure_rates(torch.device(name), precision)


def measure_rates(device: torch.device, precision: Precision = "fp32") -> Rates:
    """The rates of `device`, in about 0.3 s.

    Arithmetic is the best of matrix products and 3×3 convolutions, in MACs as they are counted:
    an algorithm that saves multiplications makes the rate higher, not the floor wrong. In half
    precision both precisions are tried, since autocast leaves some work in single precision.
    Memory is the best of copying, adding, reading and filling.
    """
    protocol = MeasurementProtocol(precision=precision)
    with precision_of(protocol, device), torch.inference_mode():
        macs = max(_rate(kernel, device) for kernel in _arithmetic(device, precision))
        moved = max(_rate(kernel, device) for kernel in _memory(device))
    cuda = device.type == "cuda"
    cached = torch.cuda.get_device_properties(device).L2_cache_size if cuda else 0
    return Rates(macs_per_second=macs, bytes_per_second=moved, cache_bytes=cached)


def _arithmetic(device: torch.device, precision: Precision) -> Iterator[_Kernel]:
    half = _HALF.get(precision)
    for dtype in (torch.float32,) if half is None else (half, torch.float32):
        for side in _CUDA_SIDES if device.type == "cuda" else _CPU_SIDES:
            left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
            yield side**3, partial(torch.matmul, left, right)
        batch, side = (64, 56) if device.type == "cuda" else (2, 28)
        maps = torch.randn(batch, 128, side, side, device=device, dtype=dtype)
        weight = torch.randn(128, 128, 3, 3, device=device, dtype=dtype)
        maps = maps.contiguous(memory_format=torch.channels_last)
        weight = weight.contiguous(memory_format=torch.channels_last)
        yield batch * (side - 2) ** 2 * weight.numel(), partial(F.conv2d, maps, weight)


def _memory(device: torch.device) -> Iterator[_Kernel]:
    for size in _CUDA_BYTES if device.type == "cuda" else _CPU_BYTES:
        source, target = (torch.ones(size // 4, device=device) for _ in range(2))
        yield 2 * size, partial(target.copy_, source)
        yield 3 * size, partial(torch.add, source, target, out=target)
        yield size, source.sum
        yield size, partial(target.fill_, 1.0)


def _rate(kernel: _Kernel, device: torch.device) -> float:
    """Work a second: the best of several short bursts."""
    work, run = kernel
    once = _seconds(run, 1, device)  # chooses algorithms, and is not counted
    once = min(once, _seconds(run, 1, device))
    count = max(1, min(100, int(_BURST_SECONDS / 4 / max(once, 1e-9))))
    return max(work * count / _seconds(run, count, device) for _ in range(4))


def counts_own_time(device: torch.device) -> bool:
    """Return whether rates are taken by the processor's own time, which others at work do not
    lengthen."""
    return device.type == "cpu" and torch.get_num_threads() == 1


def _seconds(run: Callable[[], object], count: int, device: torch.device) -> float:
    now = time.thread_time if counts_own_time(device) else time.perf_counter
    _synchronise(device)
    start = now()
    for _ in range(count):
        run()
    _synchronise(device)
    return now() - start


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
