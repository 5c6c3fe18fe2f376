"""How often the engine's verdict is wrong, and how soon it is had: simulated devices only.

    python benchmarks/verdict_error.py --runs 2000 --out FILE

The whole engine runs, warm-up, looks and drift check included, on a clock that the steps advance. A
step takes 20 ms; its noise is 1 % of the step. Truth is the long-run median of a block, which is
what a measurement estimates. Wrong is PASS or FAIL where the model lies 1 % on the other side of
the budget; decided is PASS or FAIL within so many seconds of measured work. The upper bound is
Clopper and Pearson's, at 95 %.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median

from provenance import provenance
from scipy.stats import beta

from search.throughput import MeasurementProtocol, Verdict
from search.throughput.engine import measure_step
from search.throughput.measurement import Measurement
from search.throughput.sensors import Reading

STEP_SECONDS = 0.02
NOISE = 0.01
DISTANCES = (-0.05, -0.02, -0.01, 0.01, 0.02, 0.05)  # of the model's speed from the budget
DECIDED = {0.02: (20.0, 0.95), 0.05: (5.0, 0.99)}  # so much within so many seconds of work
MAX_WRONG = 0.015
Noise = Callable[[random.Random], Callable[[float], float]]


def remembering(correlation: float) -> Noise:
    """AR(1) in logarithms, of 1 % whatever the correlation."""

    def begin(generator: random.Random) -> Callable[[float], float]:
        state = generator.gauss(0, NOISE)
        fresh = NOISE * math.sqrt(1 - correlation**2)

        def factor(_wall: float) -> float:
            nonlocal state
            state = correlation * state + generator.gauss(0, fresh)
            return math.exp(state)

        return factor

    return begin


def drifting(generator: random.Random) -> Callable[[float], float]:
    """A device that swings by half a percent within half a minute."""
    phase = generator.uniform(0, 2 * math.pi)
    return lambda wall: math.exp(
        generator.gauss(0, NOISE) + 0.005 * math.sin(2 * math.pi * wall / 30 + phase)
    )


def outlying(generator: random.Random) -> Callable[[float], float]:
    """One step in twenty takes 5 to 50 % longer."""

    def factor(_wall: float) -> float:
        slow = 1 + generator.uniform(0.05, 0.5) if generator.random() < 0.05 else 1.0
        return slow * math.exp(generator.gauss(0, NOISE))

    return factor


NOISES: dict[str, Noise] = {
    "AR(1), 0": remembering(0.0),
    "AR(1), 0.5": remembering(0.5),
    "AR(1), 0.9": remembering(0.9),
    "slow drift": drifting,
    "5 % outliers": outlying,
}


class Device:
    """Step, clock and sensors in one; nothing sleeps."""

    def __init__(self, factor: Callable[[float], float]) -> None:
        self.factor = factor
        self.wall = 0.0

    def step(self) -> None:
        self.wall += STEP_SECONDS * self.factor(self.wall)

    def reference(self) -> None:
        self.wall += 1e-3 * self.factor(self.wall)

    def now(self) -> float:
        return self.wall

    def sleep(self, seconds: float) -> None:
        self.wall += seconds

    def synchronise(self) -> None: ...

    def read(self) -> Reading:
        return Reading()

    def mark(self) -> None:
        return None

    def seconds_between(self, _start: object, _end: object) -> None:
        return None


def run(noise: Noise, seed: int, budget: float) -> Measurement:
    device = Device(noise(random.Random(seed)))
    protocol = MeasurementProtocol(batch_size=1)
    return measure_step(
        device.step, protocol, budget, device, device, {}, reference=device.reference
    )


def true_median(noise: Noise) -> float:
    """Seconds of a step, as the median over very many blocks of the engine's length."""
    steps = run(noise, 0, 1.0).steps_per_block
    blocks = []
    for seed in range(40):
        device = Device(noise(random.Random(10_000_000 + seed)))
        for _ in range(1500):
            start = device.wall
            for _ in range(steps):
                device.step()
            blocks.append((device.wall - start) / steps)
    return median(blocks)


def row(name: str, noise: Noise, distance: float, truth: float, runs: int) -> dict[str, object]:
    budget = 1 / truth / (1 + distance)
    wrong_verdict = Verdict.PASS if distance < 0 else Verdict.FAIL
    measured = [run(noise, seed, budget) for seed in range(runs)]
    wrong = sum(m.verdict is wrong_verdict for m in measured)
    seconds = [sum(m.block_seconds) * m.steps_per_block for m in measured]
    limit, _ = DECIDED.get(abs(distance), (20.0, 0.0))
    decided = sum(
        m.verdict in (Verdict.PASS, Verdict.FAIL) and s <= limit
        for m, s in zip(measured, seconds, strict=True)
    )
    return {
        "noise": name,
        "distance": distance,
        "wrong": wrong / runs,
        "wrong_at_most": round(float(beta.ppf(0.95, wrong + 1, runs - wrong)), 5),
        "decided": decided / runs,
        "within_seconds": limit,
        "mean_seconds": round(fmean(seconds), 3),
        "contaminated": sum(m.verdict is Verdict.CONTAMINATED for m in measured) / runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows, misses = [], []
    for name, noise in NOISES.items():
        truth = true_median(noise)
        for distance in DISTANCES:
            rows.append(row(name, noise, distance, truth, arguments.runs))
            print(*rows[-1].values(), flush=True)
            _, needed = DECIDED.get(abs(distance), (0.0, 0.0))
            if rows[-1]["wrong_at_most"] > MAX_WRONG or rows[-1]["decided"] < needed:  # type: ignore[operator]
                misses.append((name, distance))
    print(f"misses: {misses or 'none'}")
    if arguments.out is not None:
        settings = {"runs": arguments.runs, "step_seconds": STEP_SECONDS, "noise": NOISE}
        result = {"provenance": provenance(), "settings": settings, "rows": rows}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
