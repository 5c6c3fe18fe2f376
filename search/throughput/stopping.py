"""When a sample answers the question: intervals, planned looks, the verdict.

Blocks are looked at only after planned numbers of them, and alpha is shared between the looks,
so that looking repeatedly does not raise the rate of wrong answers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median, stdev

from scipy.special import bdtr, stdtrit

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
        # so many values may be left out on a side: no more of them fall short of the true
        # median with a probability of at most alpha / 2
        counts = range(len(ordered))
        outside = sum(bdtr(count, len(ordered), 0.5) <= alpha / 2 for count in counts) - 1
        return centre, ordered[max(0, outside)], ordered[-1 - max(0, outside)]
    logs = [math.log(seconds) for seconds in block_seconds]
    quantile = float(stdtrit(len(logs) - 1, 1 - alpha / 2))
    half_width = quantile * stdev(logs) / math.sqrt(len(logs))
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
