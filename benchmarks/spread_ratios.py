"""How far figures of repeats spread, and the ratio to the spread of a fixed mean's."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

FIXED = "fixed mean"
BOOTSTRAP_DRAWS = 4000
FEWEST_FIGURES = 4  # below, there is no spread to speak of


def summary(repeats: Sequence[dict[str, Any]], methods: Sequence[str]) -> dict[str, Any]:
    """By method the figures' median, spread and cost; for the engine the ratio of spreads too."""
    rows: dict[str, Any] = {}
    for name in methods:
        both = [
            (logarithm(row[name]), logarithm(row[FIXED]))
            for row in repeats
            if row[name]["images_per_second"] is not None
        ]
        rows[name] = {
            "figures": len(both),
            "no_valid_sample": len(repeats) - len(both),
            "median_seconds": statistics.median(row[name]["seconds"] for row in repeats),
        }
        if len(both) < FEWEST_FIGURES:
            continue
        ours = [pair[0] for pair in both]
        rows[name]["median_images_per_second"] = round(math.exp(statistics.median(ours)), 2)
        for measure_name, of in SPREADS.items():
            rows[name][measure_name] = round(of(ours), 5)
            if name != FIXED:
                rows[name][f"ratio_of_{measure_name}"] = ratio_of_spreads(both, of)
    return {"methods": rows}


def logarithm(facts: dict[str, Any]) -> float:
    return math.log(facts["images_per_second"])


def interquartile_range(values: Sequence[float]) -> float:
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low


SPREADS: dict[str, Callable[[Sequence[float]], float]] = {
    "standard_deviation": statistics.stdev,
    "interquartile_range": interquartile_range,
}


def ratio_of_spreads(
    pairs: Sequence[tuple[float, float]], of: Callable[[Sequence[float]], float]
) -> list[float]:
    """First over second, and its bootstrap interval at 95 %."""

    def ratio(drawn: Sequence[tuple[float, float]]) -> float:
        first, second = zip(*drawn, strict=True)
        below = of(second)
        return of(first) / below if below else math.inf

    generator = random.Random(0)
    draws = sorted(ratio(generator.choices(pairs, k=len(pairs))) for _ in range(BOOTSTRAP_DRAWS))
    ends = (draws[int(0.025 * BOOTSTRAP_DRAWS)], draws[int(0.975 * BOOTSTRAP_DRAWS)])
    return [round(value, 3) for value in (ratio(pairs), *ends)]
