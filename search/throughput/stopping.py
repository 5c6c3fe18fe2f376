"""Sequential stopping: when a sample answers the question: intervals, planned looks, the verdict.

Blocks are looked at only after planned numbers of them, and alpha is shared between the looks, so
that looking repeatedly does not raise the rate of wrong answers. Blocks that follow each other are
not quite independent: their lag-1 autocorrelation is estimated, from the sample itself and on the
safe side, and widens the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median, stdev

from scipy.special import bdtr, stdtrit

from search.throughput.measurement import Verdict

LOOKS = (3, 12, 24, 48, 80, 128, 200, 400)  # numbers of blocks
FEWEST_FOR_RANKS = 12  # below, ranks give no interval, and nothing is known of dependence
UNKNOWN_DEPENDENCE = 0.04  # relative half-width that a first look adds for what it cannot know
MOST_DEPENDENCE = 0.95


def interval(block_seconds: Sequence[float], alpha: float) -> tuple[float, float, float]:
    """Median seconds of a block and its interval at confidence 1 - alpha.

    From 12 blocks on the interval is free of assumptions about the distribution: it runs between
    two order statistics of the sample, widened by the square root of (1 + r) / (1 - r), r the
    autocorrelation of neighbours. Below, it is Student's, on logarithms, widened by 4 %.
    """
    centre = median(block_seconds)
    if len(block_seconds) < FEWEST_FOR_RANKS:
        return _interval_of_few(block_seconds, centre, alpha)
    ordered = sorted(block_seconds)
    # so many values may be left out on a side: no more of them fall short of the true median
    # with a probability of at most alpha / 2
    counts = range(len(ordered))
    outside = max(0, sum(bdtr(count, len(ordered), 0.5) <= alpha / 2 for count in counts) - 1)
    dependence = autocorrelation(block_seconds)
    widening = math.sqrt((1 + dependence) / (1 - dependence))
    low = centre * (ordered[outside] / centre) ** widening
    high = centre * (ordered[-1 - outside] / centre) ** widening
    return centre, low, high


def _interval_of_few(
    block_seconds: Sequence[float], centre: float, alpha: float
) -> tuple[float, float, float]:
    logs = [math.log(seconds) for seconds in block_seconds]
    quantile = float(stdtrit(len(logs) - 1, 1 - alpha / 2))
    half_width = quantile * stdev(logs) / math.sqrt(len(logs)) + UNKNOWN_DEPENDENCE
    low, high = math.exp(fmean(logs) - half_width), math.exp(fmean(logs) + half_width)
    return centre, min(low, centre), max(high, centre)


def autocorrelation(block_seconds: Sequence[float]) -> float:
    """Lag-1 autocorrelation of the blocks' logarithms, on the safe side: 0 to 0.95.

    From signs about the median, which outliers do not move: neighbours of a Gaussian sequence with
    correlation r lie on one side with probability 1/2 + asin(r) / pi. One standard error is added,
    and the estimate's bias of -(1 + 3 r) / n taken back (Kendall and Stuart).
    """
    centre, count = median(block_seconds), len(block_seconds)
    signs = [1 if seconds > centre else -1 for seconds in block_seconds]
    together = fmean(a == b for a, b in pairwise(signs))
    estimate = math.sin(math.pi * (together - 0.5))
    corrected = estimate + (1 + 3 * max(0.0, estimate)) / count
    return min(MOST_DEPENDENCE, max(0.0, corrected))


def decide(
    low: float, high: float, budget: float, margin: float, *, last_look: bool
) -> Verdict | None:
    """The verdict on a throughput between `low` and `high`; None if another look is due."""
    if low >= budget:
        return Verdict.PASS
    if high < budget:
        return Verdict.FAIL
    if last_look or (low >= budget * (1 - margin) and high <= budget * (1 + margin)):
        return Verdict.BORDERLINE
    return None
