"""A simulated device for the measuring engine: steps that take time on a clock of their own."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from search.throughput.sensors import Reading


@dataclass
class SimulatedDevice:
    """Clock, sensors and step in one: each step advances the clock by `seconds(step number)`.

    `foreign(step number)` is the share of wall time that somebody else took, `slowness(seconds)`
    by how much the whole device is slower at that time, `throttled(seconds)` why.
    """

    seconds: Callable[[int], float]
    foreign: Callable[[int], float] = field(default=lambda _step: 0.0)
    slowness: Callable[[float], float] = field(default=lambda _wall: 1.0)
    throttled: Callable[[float], tuple[str, ...]] = field(default=lambda _wall: ())
    steps: int = 0
    wall: float = 0.0
    busy: float = 0.0
    slept: float = 0.0

    def __call__(self) -> None:
        own = self.seconds(self.steps) * self.slowness(self.wall)
        self.busy += own
        self.wall += own / (1 - self.foreign(self.steps))
        self.steps += 1

    def now(self) -> float:
        return self.wall

    def sleep(self, seconds: float) -> None:
        self.wall += seconds
        self.slept += seconds

    def synchronise(self) -> None:
        pass

    def read(self) -> Reading:
        return Reading(busy_seconds=self.busy, throttled=self.throttled(self.wall))

    def mark(self) -> object | None:
        return None

    def seconds_between(self, start: object | None, end: object | None) -> float | None:
        return None

    def reference(self) -> None:
        """A fixed step of a millisecond on the same device."""
        self.busy += 1e-3 * self.slowness(self.wall)
        self.wall += 1e-3 * self.slowness(self.wall)


def noisy(mean: float, deviation: float, seed: int = 0) -> Callable[[int], float]:
    """Seconds of a step: log-normal noise of this relative deviation around `mean`."""
    generator = random.Random(seed)
    return lambda _step: mean * generator.lognormvariate(0, deviation)


def remembering(
    mean: float, deviation: float, correlation: float, seed: int = 0
) -> Callable[[int], float]:
    """Seconds of a step under AR(1) noise: each deviates as the one before, in that part."""
    generator = random.Random(seed)
    state = generator.gauss(0, deviation)
    fresh = deviation * math.sqrt(1 - correlation**2)

    def seconds(_step: int) -> float:
        nonlocal state
        state = correlation * state + generator.gauss(0, fresh)
        return mean * math.exp(state)

    return seconds
