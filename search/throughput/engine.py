"""`measure`: warm up, time blocks, discard invalid ones, stop when the question is answered."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import torch
from torch import nn

from search.throughput.measurement import Measurement, Verdict
from search.throughput.protocol import MeasurementProtocol
from search.throughput.sensors import Clock, Sensors, SystemClock, device_sensors, environment
from search.throughput.stopping import FEWEST_FOR_RANKS, LOOKS, autocorrelation, decide, interval
from search.throughput.timing import Block, Stopwatch
from search.throughput.validity import Reference, block_problem, drift, sample_problem
from search.throughput.workload import make_step, precision_of, reference_step, waited_for

BLOCKS_IN_CAP = 400  # a block is this part of the cap on measured work: 0.05 s of 20 s
# and no shorter: a step after the sensors were read finds colder caches (3 % of one of 2.7 ms)
SHORTEST_BLOCK_SECONDS = 0.05
FIRST_LOOK_SECONDS = 1.0  # of measured work, within which what lies far from the budget is told
MAX_DISCARDED = 80
FEWEST_DISCARDED = 5  # before the seconds spent on them may end a measurement
MAX_RESTARTS = 8  # after so many drifts the device is not fit to measure on


def measure(
    model: nn.Module,
    protocol: MeasurementProtocol,
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
        if protocol.mode == "latency":
            step = waited_for(step, sensors.synchronise)
        facts = _environment(device, protocol)
        return measure_step(
            step, protocol, budget, clock, sensors, facts, reference=reference_step(device)
        )


def measure_step(
    step: Callable[[], None],
    protocol: MeasurementProtocol,
    budget: float | None,
    clock: Clock,
    sensors: Sensors,
    environment: dict[str, object],
    *,
    reference: Callable[[], None] | None = None,
) -> Measurement:
    """The measurement of any `step` that handles `protocol.batch_size` images.

    `reference` is a fixed step whose time tells a device that drifts from a model that is slow.
    """
    stopwatch = Stopwatch(clock, sensors)
    beside = Reference(reference, stopwatch) if reference is not None else None
    discarded = Discarded()
    step_seconds, warm_up_seconds = stopwatch.warm_up(step)
    restarts, spent = 0, 0.0
    while True:
        sample = _Sample(step, stopwatch, protocol, step_seconds, discarded)
        answer = _look(sample, protocol, budget, beside)
        spent += sum(block.wall_seconds for block in sample.blocks)
        if not answer.shifted or restarts == MAX_RESTARTS or spent >= protocol.max_seconds:
            break
        restarts += 1
    if sample.contaminated or (answer.shifted and budget is not None):
        answer = _Answer(Verdict.CONTAMINATED, looks=answer.looks)
    blocks = sample.blocks
    return Measurement(
        protocol=protocol,
        budget=budget,
        images_per_second=answer.centre,
        low=answer.low,
        high=answer.high,
        verdict=answer.verdict,
        block_seconds=tuple(sample.seconds()),
        steps_per_block=sample.steps,
        looks=answer.looks,
        discarded=dict(discarded.blocks),
        restarts=restarts,
        drift=answer.drift,
        autocorrelation=autocorrelation(sample.seconds())
        if len(blocks) >= FEWEST_FOR_RANKS
        else None,
        host_share=_host_share(blocks),
        warm_up_seconds=warm_up_seconds,
        environment=environment | _idle(blocks),
    )


@dataclass
class _Answer:
    """Result of the looks at a sample, in images per second."""

    verdict: Verdict | None = None
    low: float = math.nan
    centre: float = math.nan
    high: float = math.nan
    looks: int = 0
    drift: float = 0.0
    shifted: bool = False  # by more than anything else that is unknown


@dataclass
class Discarded:
    """Blocks that did not count, by reason, and the seconds that they took; over all restarts."""

    blocks: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def add(self, problem: str, blocks: Sequence[Block]) -> None:
        self.blocks[problem] += len(blocks)
        self.seconds += sum(block.wall_seconds for block in blocks)

    def too_many(self, max_seconds: float) -> bool:
        count = self.blocks.total()
        return count > MAX_DISCARDED or (count >= FEWEST_DISCARDED and self.seconds > max_seconds)


@dataclass
class _Sample:
    """The valid blocks so far, next to those discarded."""

    step: Callable[[], None]
    stopwatch: Stopwatch
    protocol: MeasurementProtocol
    step_seconds: float
    discarded: Discarded
    blocks: list[Block] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Of a block."""
        block_seconds = max(SHORTEST_BLOCK_SECONDS, self.protocol.max_seconds / BLOCKS_IN_CAP)
        return math.ceil(block_seconds / max(self.step_seconds, 1e-6))

    @property
    def most_blocks(self) -> int:
        """So many fit into the cap on measured work, three at least."""
        fitting = self.protocol.max_seconds / max(self.steps * self.step_seconds, 1e-9)
        return max(LOOKS[0], min(LOOKS[-1], math.ceil(fitting)))

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of blocks; the first, of few and wide of the mark, only if steps are slow."""
        second = LOOKS[1] * self.steps * self.step_seconds
        return LOOKS[1:] if second <= FIRST_LOOK_SECONDS else LOOKS

    @property
    def contaminated(self) -> bool:
        return self.discarded.too_many(self.protocol.max_seconds)

    def settle(self, blocks: int) -> bool:
        """Grows to `blocks` that count together too; False if too many had to be discarded."""
        while self.grow(blocks):
            problem = sample_problem(self.blocks)
            if problem is None:
                return True
            self.discarded.add(problem, self.blocks)
            self.blocks.clear()
        return False

    def grow(self, blocks: int) -> bool:
        """Adds blocks up to `blocks`; False if too many had to be discarded."""
        while len(self.blocks) < blocks and not self.contaminated:
            block = self.stopwatch.block(self.step, self.steps)
            problem = block_problem(block)
            if problem is None:
                self.blocks.append(block)
            else:
                self.discarded.add(problem, [block])
        return not self.contaminated

    def seconds(self) -> list[float]:
        """Of a step, by block, as the record holds them: what is computed can be recomputed."""
        return [float(f"{block.step_seconds:.7g}") for block in self.blocks]


def _look(
    sample: _Sample,
    protocol: MeasurementProtocol,
    budget: float | None,
    reference: Reference | None,
) -> _Answer:
    """Looks at the sample at the planned numbers of blocks until the question is answered."""
    answer = _Answer()
    alpha = protocol.alpha / len(LOOKS)
    before = reference.time() if reference is not None else []
    for planned in sample.looks:
        blocks = min(planned, sample.most_blocks)
        if not sample.settle(blocks):
            return answer
        answer.looks += 1
        seconds, fastest, slowest = interval(sample.seconds(), alpha)
        rates = (protocol.batch_size / s for s in (slowest, seconds, fastest))
        answer.low, answer.centre, answer.high = rates
        half_width = math.sqrt(answer.high / answer.low) - 1
        if reference is not None:
            # what the device has shifted by may be in the sample, whichever way
            answer.drift = max(answer.drift, drift(before, reference.time()))
            answer.low /= 1 + answer.drift
            answer.high *= 1 + answer.drift
        last = blocks == sample.most_blocks
        if budget is not None:
            answer.verdict = decide(
                answer.low, answer.high, budget, protocol.margin, last_look=last
            )
        if answer.drift and answer.verdict not in (Verdict.PASS, Verdict.FAIL):
            answer.verdict = None
            answer.shifted = last or answer.drift > half_width  # more blocks would not help
            if answer.shifted:
                return answer
        narrow = budget is None and answer.high / answer.low <= (1 + protocol.margin) ** 2
        if answer.verdict is not None or last or narrow:
            return answer
    return answer


def _host_share(blocks: list[Block]) -> float | None:
    shares = [b.host_seconds / b.wall_seconds for b in blocks if b.device_seconds is not None]
    return median(shares) if shares else None


def _idle(blocks: list[Block]) -> dict[str, object]:
    """Processes that had a place on the device while these blocks ran, and did not compute."""
    names = sorted({name for block in blocks for name in block.after.idle})
    return {"idle_processes": names} if names else {}


def _environment(device: torch.device, protocol: MeasurementProtocol) -> dict[str, object]:
    facts = environment(device)
    if device.type == "cuda":
        facts["tf32_matmul"] = torch.backends.cuda.matmul.allow_tf32
        facts["tf32_cudnn"] = torch.backends.cudnn.allow_tf32
    return facts
