"""When a sample answers the question: intervals, planned looks, the verdict.

Blocks are looked at only after planned numbers of them, and alpha is shared between the looks,
so that looking repeatedly does not raise the rate of wrong answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median, stdev

from scipy.stats import binom, t

from search.throughput.record import Verdict

LOOKS = (3, 10, 20, 40)  # numbers of blocks
_FEWEST_FOR_RANKS = 10  # below, ranks cannot give an interval at alpha / looks


def interval(block_seconds: Sequence[float], alpha: float) -> tuple[float, float, float]:
    """Median seconds of a block and its interval at confidence 1 - alpha.

    From 10 blocks on the interval is free of assumptions about the noise: it runs between two
    order statistics of the sample. Below, it is Student's, on logarithms.
    """
    centre = median(block_seconds)
    if len(block_seconds) >= _FEWEST_FOR_RANKS:
        ordered = sorted(block_seconds)
        rank = int(binom.ppf(alpha / 2, len(ordered), 0.5))
        outside = max(0, rank - 1)  # so many values on either side lie outside the interval
        return centre, ordered[outside], ordered[-1 - outside]
    logs = [math.log(seconds) for seconds in block_seconds]
    half_width = t.ppf(1 - alpha / 2, len(logs) - 1) * stdev(logs) / math.sqrt(len(logs))
    low, high = math.exp(fmean(logs) - half_width), math.exp(fmean(logs) + half_width)
    return centre, min(low, centre), max(high, centre)


def decide(
    low: float, high: float, budget: float, margin: float, *, last_look: bool
) -> Verdict | None:
    """The verdict on a throughput between `low` and `high`; None where another look is due."""
    if low >= budget:
        return Verdict.PASS
    if high < budget:
        return Verdict.FAIL
    if last_look or (low >= budget * (1 - margin) and high <= budget * (1 + margin)):
        return Verdict.BORDERLINE
    return None
