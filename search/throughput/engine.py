"""`measure`: warm up, time blocks, discard invalid ones, stop when the question is answered."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from search.throughput.protocol import Protocol
from search.throughput.record import Measurement, Verdict
from search.throughput.sensors import Clock, Sensors, SystemClock, device_sensors, environment
from search.throughput.stopping import LOOKS, decide, interval
from search.throughput.workload import make_step, precision_of

WARM_UP_STEPS = 10
WARM_UP_SECONDS = 0.5
SLOW_WARM_UP_SECONDS = 2.0  # a model this slow has no need of ten steps
BLOCKS_IN_CAP = 200  # blocks are this part of the cap on measured work: 0.1 s of 20 s
MAX_WALL_OVER_BUSY = 1.1  # above, somebody else had the processor
MAX_DISCARDED = 40


def measure(
    model: nn.Module,
    protocol: Protocol,
    *,
    budget: float | None = None,
    device: torch.device | str | None = None,
    clock: Clock | None = None,
    sensors: Sensors | None = None,
) -> Measurement:
    """Images per second of `model` under `protocol`, with a verdict on `budget` (images/s).

    `device` is that of the model by default. In train mode the model's weights change. Raises
    what the model raises; running out of memory comes as torch raises it.
    """
    if budget is not None and not (math.isfinite(budget) and budget > 0):
        raise ValueError(f"budget: got {budget}; allowed: images per second above 0")
    device = torch.device(device) if device is not None else next(model.parameters()).device
    clock = clock if clock is not None else SystemClock()
    sensors = sensors if sensors is not None else device_sensors(device)
    if protocol.memory_format == "auto":
        protocol = replace(protocol, memory_format="channels_last")
    with precision_of(protocol, device):
        step = make_step(model, protocol, device)
        return measure_step(step, protocol, budget, clock, sensors, _environment(device, protocol))


def measure_step(
    step: Callable[[], None],
    protocol: Protocol,
    budget: float | None,
    clock: Clock,
    sensors: Sensors,
    environment: dict[str, object],
) -> Measurement:
    """The measurement of any `step` that handles `protocol.batch_size` images."""
    step_seconds = _warm_up(step, clock, sensors)
    steps_per_block = math.ceil(protocol.max_seconds / BLOCKS_IN_CAP / max(step_seconds, 1e-6))
    sample = _Sample(step, clock, sensors, steps_per_block)
    alpha = protocol.alpha / len(LOOKS)
    verdict: Verdict | None = None
    looks, low, centre, high = 0, math.nan, math.nan, math.nan
    for blocks in LOOKS:
        if not sample.grow(blocks):
            verdict = Verdict.CONTAMINATED if budget is not None else None
            break
        looks += 1
        seconds, fastest, slowest = interval(sample.block_seconds, alpha)
        centre, low, high = (protocol.batch_size / s for s in (seconds, slowest, fastest))
        spent = sum(sample.block_seconds) * sample.steps_per_block >= protocol.max_seconds
        last = spent or blocks == LOOKS[-1]
        if budget is not None:
            verdict = decide(low, high, budget, protocol.margin, last_look=last)
        narrow = budget is None and high / low <= (1 + protocol.margin) ** 2
        if verdict is not None or last or narrow:
            break
    if sample.contaminated:
        low = centre = high = math.nan
    return Measurement(
        protocol=protocol,
        budget=budget,
        images_per_second=centre,
        low=low,
        high=high,
        verdict=verdict,
        block_seconds=tuple(sample.block_seconds),
        steps_per_block=sample.steps_per_block,
        looks=looks,
        discarded_blocks=sample.discarded,
        environment=environment,
    )


def _warm_up(step: Callable[[], None], clock: Clock, sensors: Sensors) -> float:
    """Runs the step until it is warm; returns the seconds of the last one.

    The first step, which may compile and choose kernels for long, says nothing of the others.
    """
    step()
    sensors.synchronise()
    start = clock.now()
    steps, last, elapsed = 0, 0.0, 0.0
    while True:
        began = clock.now()
        step()
        sensors.synchronise()
        steps += 1
        last, elapsed = clock.now() - began, clock.now() - start
        warm = steps >= WARM_UP_STEPS and elapsed >= WARM_UP_SECONDS
        if warm or (steps >= 2 and elapsed >= SLOW_WARM_UP_SECONDS):
            return last


@dataclass
class _Sample:
    """The valid blocks so far; a block during which others computed is discarded."""

    step: Callable[[], None]
    clock: Clock
    sensors: Sensors
    steps_per_block: int
    block_seconds: list[float] = field(default_factory=list)
    discarded: int = 0

    @property
    def contaminated(self) -> bool:
        return self.discarded > MAX_DISCARDED

    def grow(self, blocks: int) -> bool:
        """Adds blocks up to `blocks`; False where too many had to be discarded."""
        while len(self.block_seconds) < blocks and not self.contaminated:
            self._add()
        return not self.contaminated

    def _add(self) -> None:
        self.sensors.synchronise()
        busy, start = self.sensors.busy_seconds(), self.clock.now()
        for _ in range(self.steps_per_block):
            self.step()
        self.sensors.synchronise()
        wall, busy_after = self.clock.now() - start, self.sensors.busy_seconds()
        foreign = (
            busy is not None
            and busy_after is not None
            and wall > MAX_WALL_OVER_BUSY * (busy_after - busy)
        )
        if foreign:
            self.discarded += 1
        else:
            self.block_seconds.append(wall / self.steps_per_block)


def _environment(device: torch.device, protocol: Protocol) -> dict[str, object]:
    facts = environment(device)
    if device.type == "cuda":
        facts["tf32_matmul"] = torch.backends.cuda.matmul.allow_tf32
        facts["tf32_cudnn"] = torch.backends.cudnn.allow_tf32
    return {**facts, "optimizer": "adamw" if protocol.mode == "train" else None}
