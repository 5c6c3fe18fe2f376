"""Peak memory of a step, and the largest batch whose step fits."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

_SECOND_STEP = "second step"


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Bytes at the highest moment of a step.

    `allocated_bytes` are in tensors of this process on the device: weights, gradients, optimizer,
    maps, and whatever else it holds there. `reserved_bytes` is what torch took from a CUDA device
    for them, None elsewhere; others cannot have that, nor CUDA's own few hundred MiB.
    """

    allocated_bytes: int
    reserved_bytes: int | None = None


def peak_memory_bytes(step: Callable[[], None], device: torch.device | str) -> int:
    """The bytes in tensors at the highest moment of `step`; see `peak_memory`."""
    return peak_memory(step, device).allocated_bytes


def peak_memory(step: Callable[[], None], device: torch.device | str) -> PeakMemory:
    """The peak of the second of two steps: the first makes gradients and optimizer states.

    On a CUDA device torch's allocator keeps the peak. On a CPU the profiler follows torch's
    allocations, upwards from what the living tensors hold; the resident size of the process would
    say less, as its peak is of all that went before, and what was freed may stay resident.
    Neither sees what libraries allocate by themselves, such as oneDNN's scratchpads. Best called
    with a step that never ran: torch warns of gradients from before that are given back.
    """
    device = torch.device(device)
    if device.type != "cuda":
        return PeakMemory(_cpu_peak(step))
    step()
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    step()
    torch.cuda.synchronize(device)
    allocated = torch.cuda.max_memory_allocated(device)
    return PeakMemory(allocated, torch.cuda.max_memory_reserved(device))


def _cpu_peak(step: Callable[[], None]) -> int:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it reports its own start and stop
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
        gc.collect()
        living = sum(_living_storages().values())
        with record_function(_SECOND_STEP):
            step()
    events = _trace(profiler)
    start = next(event["ts"] for event in events if event["name"] == _SECOND_STEP)
    totals = [
        (event["ts"], event["args"]["Total Allocated"])
        for event in events
        if event["name"] == "[memory]" and event["args"]["Device Type"] == 0
    ]
    before = max((moment for moment in totals if moment[0] < start), default=(0, 0))[1]
    return living + max((total - before for at, total in totals if at >= start), default=0)


def _trace(profiler: profile) -> list[dict[str, Any]]:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(file))
        events: list[dict[str, Any]] = json.loads(file.read_text())["traceEvents"]
    return events


def _living_storages() -> dict[int, int]:
    """Bytes of each storage in the machine's memory that a tensor of this process holds."""
    return {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in _living_tensors()
        if tensor.device.type == "cpu" and tensor.layout is torch.strided
    }


def _living_tensors() -> Iterator[Tensor]:
    for thing in gc.get_objects():
        if type(thing) in (Tensor, nn.Parameter):  # asking odder things may wake them up
            yield thing
            if thing.is_leaf and thing.grad is not None:
                yield thing.grad


def largest_batch(
    make_step: Callable[[int], Callable[[], None]],
    *,
    start: int,
    limit: int,
    is_out_of_memory: Callable[[BaseException], bool],
    may_fit: Callable[[int], bool] = lambda _batch: True,
    release: Callable[[], None] | None = None,
) -> int:
    """The largest batch up to `limit` whose step fits; 0 if not even one image does.

    `make_step` gives a step for a batch; it runs twice, since optimizer states come with the
    first. What it raises passes through unless `is_out_of_memory` says what it is. `may_fit` is a
    free answer beforehand, which a CPU needs: there the system ends a process rather than refuse.
    Doubles or halves from `start`, then halves the interval; memory is given back in between.
    """
    if not 1 <= start <= limit:
        raise ValueError(f"start: got {start}; allowed: 1 to limit, {limit}")
    release = release if release is not None else release_memory

    def fits(batch: int) -> bool:
        found = may_fit(batch) and _runs(make_step, batch, is_out_of_memory)
        release()
        return found

    fitting, failing, batch = 0, limit + 1, start
    while failing - fitting > 1:
        if fits(batch):
            fitting = batch
        else:
            failing = batch
        batch = min(2 * fitting, limit) if failing > limit else (fitting + failing) // 2
    return fitting


def _runs(
    make_step: Callable[[int], Callable[[], None]],
    batch: int,
    is_out_of_memory: Callable[[BaseException], bool],
) -> bool:
    try:
        step = make_step(batch)
        step()
        step()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def release_memory() -> None:
    """Gives back what nobody holds any more, to the device as well."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
