"""Time of a step by part, next to the lower bound of each part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import nn

from search.profiling._part_timers import (
    OPTIMIZER,
    ClockStopwatch,
    EventStopwatch,
    PartClock,
    PartHooks,
    Spans,
    total,
)
from search.profiling._work import Work, count_parts, optimizer_bytes
from search.profiling.roofline import Rates, arithmetic_floor, bandwidth_floor, device_rates
from search.throughput.protocol import MeasurementProtocol
from search.throughput.sensors import Clock, SystemClock, device_sensors
from search.throughput.workload import make_step, precision_of

REST = "rest"
WARM_UP_STEPS = 3
FEWEST_STEPS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTime:
    """One part of a step, inclusive of the parts inside it; times are medians over steps.

    `depth` is the number of other parts around it. `share` is of the whole step: those of depth 0,
    the optimizer and the rest among them, sum to 1. `calls` is the number of forward passes in a
    step. `macs` and the floors are those of a whole step, None for what is not a part of the model.
    """

    name: str
    depth: int
    calls: int
    seconds: float
    forward_seconds: float
    backward_seconds: float
    share: float
    params: int | None = None
    macs: int | None = None
    arithmetic_floor_seconds: float | None = None
    bandwidth_floor_seconds: float | None = None

    @property
    def macs_per_second(self) -> float | None:
        """The rate of arithmetic that the part reached; None without arithmetic or time."""
        return self.macs / self.seconds if self.macs and self.seconds else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The parts in the order given, then the optimizer (train mode) and the rest.

    `step_seconds` is a whole step without hooks, `watched_step_seconds` one with them; both were
    timed in turns.
    """

    parts: tuple[PartTime, ...]
    step_seconds: float
    watched_step_seconds: float
    steps: int
    rates: Rates

    @property
    def overhead(self) -> float:
        """By what part of a step watching made it longer."""
        return self.watched_step_seconds / self.step_seconds - 1

    def to_data(self) -> dict[str, Any]:
        """One JSON object."""
        data = asdict(self)
        for row, part in zip(data["parts"], self.parts, strict=True):
            row["macs_per_second"] = part.macs_per_second
        return data | {"parts": list(data["parts"]), "overhead": self.overhead}


def breakdown(
    model: nn.Module,
    protocol: MeasurementProtocol,
    *,
    parts: Mapping[str, nn.Module],
    device: torch.device | str | None = None,
    clock: Clock | None = None,
    rates: Rates | None = None,
    max_steps: int = 20,
    max_seconds: float = 10.0,
) -> Breakdown:
    """Times `parts`, modules inside `model` under the names they shall have, in whole steps.

    On a CUDA device by events, without waiting inside a step; elsewhere by `clock`. In train mode
    the model's weights change. ValueError for a compiled protocol: what is fused has no parts.
    """
    _require_parts(model, protocol, parts)
    device = torch.device(device) if device is not None else next(model.parameters()).device
    clock = clock if clock is not None else SystemClock()
    rates = rates if rates is not None else device_rates(device, protocol.precision)
    works = count_parts(model, protocol, parts)
    if protocol.mode == "train":
        works[OPTIMIZER] = Work(0, optimizer_bytes(model, protocol))
    stopwatch = EventStopwatch() if device.type == "cuda" else ClockStopwatch(clock)
    with precision_of(protocol, device):
        timer = _StepTimer(
            step=make_step(model, protocol, device),
            parts=parts,
            stopwatch=stopwatch,
            clock=clock,
            synchronise=device_sensors(device).synchronise,
        )
        timer.run(max_steps, max_seconds)
    return _summary(timer, works, rates)


def _require_parts(
    model: nn.Module, protocol: MeasurementProtocol, parts: Mapping[str, nn.Module]
) -> None:
    if protocol.compile:
        raise ValueError("compile: got true; allowed: false, what is fused cannot be taken apart")
    inside = set(model.modules())
    strangers = [name for name, part in parts.items() if part not in inside]
    if strangers:
        raise ValueError(f"parts: {', '.join(strangers)}: not inside the model")
    if len(set(parts.values())) < len(parts):
        raise ValueError("parts: a module has two names")
    reserved = sorted({OPTIMIZER, REST} & parts.keys())
    if reserved:
        raise ValueError(f"parts: got {', '.join(reserved)}; these names are for what is no part")


class _StepTimer:
    """Steps with hooks and without, in turns, so that drift meets both alike."""

    def __init__(
        self,
        *,
        step: Callable[[], None],
        parts: Mapping[str, nn.Module],
        stopwatch: PartClock,
        clock: Clock,
        synchronise: Callable[[], None],
    ) -> None:
        self.parts = parts
        self.plain: list[float] = []
        self.watched: list[float] = []
        self.forward: dict[str, list[float]] = {name: [] for name in (*parts, OPTIMIZER)}
        self.backward: dict[str, list[float]] = {name: [] for name in (*parts, OPTIMIZER)}
        self.calls: dict[str, int] = {}
        self._step = step
        self._stopwatch = stopwatch
        self._clock = clock
        self._synchronise = synchronise
        self._hooks = PartHooks(parts, stopwatch)

    def run(self, max_steps: int, max_seconds: float) -> None:
        start = self._clock.now()
        for _ in range(WARM_UP_STEPS):
            self._watched_step(record=False)
            if self._clock.now() - start > max_seconds / 4:
                break
        start = self._clock.now()
        for count in range(max(max_steps, FEWEST_STEPS)):
            if count >= FEWEST_STEPS and self._clock.now() - start > max_seconds:
                break
            first, second = self._plain_step, self._watched_step
            for take in (first, second) if count % 2 else (second, first):
                take()

    def _plain_step(self) -> None:
        self.plain.append(self._seconds())

    def _watched_step(self, *, record: bool = True) -> None:
        with self._hooks.watching() as spans:
            seconds = self._seconds()
        if record:
            self.watched.append(seconds)
            for name, seen in spans.items():
                self._note(name, seen)

    def _note(self, name: str, seen: Spans) -> None:
        self.calls[name] = len(seen.forward)
        self.forward[name].append(total(seen.forward, self._stopwatch))
        self.backward[name].append(total(seen.backward, self._stopwatch))

    def _seconds(self) -> float:
        self._synchronise()
        start = self._stopwatch.mark()
        self._step()
        end = self._stopwatch.mark()
        self._synchronise()
        return self._stopwatch.seconds(start, end)

    def of(self, name: str) -> list[float]:
        """Seconds of a part in each watched step."""
        return [sum(both) for both in zip(self.forward[name], self.backward[name], strict=True)]


def _summary(timer: _StepTimer, works: Mapping[str, Work], rates: Rates) -> Breakdown:
    depths = {name: _depth(name, timer.parts) for name in timer.parts}
    outermost = [name for name, depth in depths.items() if depth == 0]
    if OPTIMIZER in works:
        depths[OPTIMIZER] = 0
        outermost.append(OPTIMIZER)
    seconds = {name: median(timer.of(name)) for name in depths}
    inside = [sum(step) for step in zip(*(timer.of(name) for name in outermost), strict=True)]
    inside = inside or [0.0] * len(timer.watched)
    rest = median(max(0.0, w - i) for w, i in zip(timer.watched, inside, strict=True))
    whole = sum(seconds[name] for name in outermost) + rest
    parts = [
        PartTime(
            name=name,
            depth=depth,
            calls=timer.calls[name],
            seconds=seconds[name],
            forward_seconds=median(timer.forward[name]),
            backward_seconds=median(timer.backward[name]),
            share=seconds[name] / whole,
            params=_params(timer.parts.get(name)),
            macs=works[name].macs,
            arithmetic_floor_seconds=arithmetic_floor(works[name], rates),
            bandwidth_floor_seconds=bandwidth_floor(works[name], rates),
        )
        for name, depth in depths.items()
    ]
    last = PartTime(
        name=REST,
        depth=0,
        calls=1,
        seconds=rest,
        forward_seconds=rest,
        backward_seconds=0.0,
        share=rest / whole,
    )
    return Breakdown(
        parts=(*parts, last),
        step_seconds=median(timer.plain),
        watched_step_seconds=median(timer.watched),
        steps=len(timer.watched),
        rates=rates,
    )


def _depth(name: str, parts: Mapping[str, nn.Module]) -> int:
    part = parts[name]
    return sum(part is not other and part in set(other.modules()) for other in parts.values())


def _params(part: nn.Module | None) -> int | None:
    return None if part is None else sum(parameter.numel() for parameter in part.parameters())
