"""Timing of a step: warm-up until it is steady, then blocks of steps back to back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from search.throughput.sensors import Clock, Reading, Sensors

WARM_UP_STEPS = 10
WARM_UP_SECONDS = 0.5
STEADY = 0.01  # two windows of warm-up that differ by less are steady
LONGEST_WARM_UP_SECONDS = 2.0  # a noisy machine is never steady, and a slow model need not be


@dataclass(frozen=True, slots=True)
class Block:
    """`steps` steps back to back, and what was read before and after them; times in seconds.

    `host_seconds` is how long the host took to ask for the steps, `device_seconds` what the
    device's own clock says of them.
    """

    steps: int
    wall_seconds: float
    host_seconds: float
    device_seconds: float | None
    before: Reading
    after: Reading

    @property
    def step_seconds(self) -> float:
        return self.wall_seconds / self.steps


@dataclass(frozen=True)
class Stopwatch:
    """Times any step on one device."""

    clock: Clock
    sensors: Sensors

    def block(self, step: Callable[[], None], steps: int) -> Block:
        """One block, nothing synchronised inside it."""
        self.sensors.synchronise()
        before, start = self.sensors.read(), self.clock.now()
        first = self.sensors.mark()
        for _ in range(steps):
            step()
        last = self.sensors.mark()
        asked = self.clock.now()
        self.sensors.synchronise()
        end = self.clock.now()
        return Block(
            steps,
            wall_seconds=end - start,
            host_seconds=asked - start,
            device_seconds=self.sensors.seconds_between(first, last),
            before=before,
            after=self.sensors.read(),
        )

    def warm_up(self, step: Callable[[], None]) -> tuple[float, float]:
        """Runs the step until it is steady: seconds of one step, and of the whole warm-up.

        At least 10 steps and 0.5 s; then until the two halves of the last 0.5 s agree within 1 %,
        2 s at most. The first step, which may compile and choose kernels for long, is not counted.
        """
        self.sensors.synchronise()
        begun = self.clock.now()
        self._one(step)
        start = self.clock.now()
        seconds: list[float] = []
        while True:
            seconds.append(self._one(step))
            elapsed = self.clock.now() - start
            enough = len(seconds) >= WARM_UP_STEPS and elapsed >= WARM_UP_SECONDS
            if (enough and _is_steady(seconds)) or (
                len(seconds) >= 2 and elapsed >= LONGEST_WARM_UP_SECONDS
            ):
                return median(_window(seconds)), self.clock.now() - begun

    def _one(self, step: Callable[[], None]) -> float:
        start = self.clock.now()
        step()
        self.sensors.synchronise()
        return self.clock.now() - start


def _window(seconds: list[float]) -> list[float]:
    """The last steps, about half of 0.5 s of them."""
    count = max(1, round(WARM_UP_SECONDS / 2 / max(seconds[-1], 1e-9)))
    return seconds[-count:]


def _is_steady(seconds: list[float]) -> bool:
    last = _window(seconds)
    before = seconds[-2 * len(last) : -len(last)] or seconds[:1]
    return abs(median(last) / median(before) - 1) <= STEADY
