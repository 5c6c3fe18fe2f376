"""A simulated device for the measuring engine: steps that take time on a clock of their own."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class SimulatedDevice:
    """Clock, sensors and step in one: each step advances the clock by `seconds(step number)`.

    `foreign(step number)` is the share of wall time that somebody else took.
    """

    seconds: Callable[[int], float]
    foreign: Callable[[int], float] = field(default=lambda _step: 0.0)
    steps: int = 0
    wall: float = 0.0
    busy: float = 0.0
    slept: float = 0.0

    def __call__(self) -> None:
        own = self.seconds(self.steps)
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

    def busy_seconds(self) -> float | None:
        return self.busy


def noisy(mean: float, deviation: float, seed: int = 0) -> Callable[[int], float]:
    """Seconds of a step: log-normal noise of this relative deviation around `mean`."""
    generator = random.Random(seed)
    return lambda _step: mean * generator.lognormvariate(0, deviation)
