"""Detection of contention, throttling and drift in timing blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median, variance

from search.hardware.cpu import CpuTimes, foreign_seconds, stolen_seconds
from search.throughput.timing import Block, Stopwatch

MAX_WALL_OVER_BUSY = 1.1  # above, somebody else had the processor
MAX_DRIFT = 0.01
_SECONDS_TO_TELL = 0.5  # of blocks, in which the kernel's ticks of 10 ms are a small error
_MAX_SHARE = 0.1  # of a CPU
_REFERENCE_BLOCKS = 7
_REFERENCE_SECONDS = 0.01  # of a block
_SURE = 5.0  # standard errors, of two samples of seven
_NONE = CpuTimes(busy=0.0, stolen=0.0, own=0.0, throttled=0.0)


def block_problem(block: Block) -> str | None:
    """Why a block does not count, in words; None if it does."""
    foreign = sorted({*block.before.foreign, *block.after.foreign})
    if foreign:
        return f"others compute on the device: {', '.join(foreign)}"
    if block.after.throttled:
        return f"the device is throttled: {', '.join(block.after.throttled)}"
    before, after = block.before.busy_seconds, block.after.busy_seconds
    if before is None or after is None:
        return None
    kept_waiting = block.wall_seconds > MAX_WALL_OVER_BUSY * (after - before)
    return "others had the processor" if kept_waiting else None


def sample_problem(blocks: Sequence[Block]) -> str | None:
    """Why blocks together do not count: what the kernel's ticks can tell over half a second.

    Others at work matter if they and this process's threads want more than the CPUs there are.
    """
    first = blocks[0].before
    wall = sum(block.wall_seconds for block in blocks)
    spent = _times_within(blocks)
    if spent is None or wall < _SECONDS_TO_TELL:
        return None
    if (spent.throttled or 0.0) > _MAX_SHARE * wall:
        return "the container's quota held the process back"
    if (stolen_seconds(_NONE, spent) or 0.0) > _MAX_SHARE * wall:
        return "the hypervisor gave the CPU to other machines"
    foreign = (foreign_seconds(_NONE, spent) or 0.0) / wall
    wanted = first.threads + foreign
    if foreign > _MAX_SHARE and wanted > first.cpus + _MAX_SHARE:
        return "others computed on the CPUs that this process needs"
    return None


def _times_within(blocks: Sequence[Block]) -> CpuTimes | None:
    """CPU seconds within the blocks alone: what was discarded between them is in no figure."""
    pairs = [(block.before.cpu, block.after.cpu) for block in blocks]
    known = [(before, after) for before, after in pairs if before is not None and after is not None]
    if not known:
        return None
    return CpuTimes(
        busy=_sum((before.busy, after.busy) for before, after in known),
        stolen=_sum((before.stolen, after.stolen) for before, after in known),
        own=sum(after.own - before.own for before, after in known),
        throttled=_sum((before.throttled, after.throttled) for before, after in known),
    )


def _sum(pairs: Iterable[tuple[float | None, float | None]]) -> float | None:
    """Of the differences; None if nothing can be read."""
    known = [(first, last) for first, last in pairs if first is not None and last is not None]
    return sum(last - first for first, last in known) if known else None


@dataclass
class Reference:
    """A fixed step next to the model's: if its time shifts, the device has, not the model."""

    step: Callable[[], None]
    stopwatch: Stopwatch
    steps: int = 0

    def time(self) -> list[float]:
        """Seconds of a step, from a few short blocks."""
        if not self.steps:
            first = min(self.stopwatch.block(self.step, 1).step_seconds for _ in range(3))
            self.steps = max(1, math.ceil(_REFERENCE_SECONDS / max(first, 1e-9)))
        blocks = (self.stopwatch.block(self.step, self.steps) for _ in range(_REFERENCE_BLOCKS))
        return [block.step_seconds for block in blocks]


def drift(before: Sequence[float], after: Sequence[float]) -> float:
    """By how much a reference has shifted, relative; 0 if that is not sure or up to 1 %."""
    shift = math.log(median(after) / median(before))
    logs = [[math.log(seconds) for seconds in sample] for sample in (before, after)]
    error = math.sqrt(sum(variance(sample) / len(sample) for sample in logs))
    return abs(shift) if abs(shift) > max(MAX_DRIFT, _SURE * error) else 0.0
