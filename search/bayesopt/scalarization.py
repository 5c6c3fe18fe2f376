"""Several things that are to be low, as one score that is to be high."""

from __future__ import annotations

import random

import numpy as np

from search.bayesopt.gaussian_process import Array

SUM_WEIGHT = 0.05  # of the weighted sum next to the weighted maximum, as in ParEGO


def random_weights(generator: random.Random, number: int) -> Array:
    """`number` weights that sum to 1, all such alike likely."""
    parts = np.array([generator.expovariate(1.0) for _ in range(number)])
    weights: Array = parts / parts.sum()
    return weights


def tchebycheff_scores(costs: Array, weights: Array) -> Array:
    """(trials, axes) of costs to (trials,) of scores: the augmented Tchebycheff function, negated.

    Each axis is scaled to 0..1 over the trials first. With fitting weights every trial that none
    beats has the highest score, in dents of the front too, if a weighted sum finds nothing; the
    small sum keeps those from it that are only as good in the worst axis (Knowles 2006, ParEGO).
    """
    lowest, spread = costs.min(axis=0), np.ptp(costs, axis=0)
    scaled = (costs - lowest) / np.where(spread > 0, spread, 1.0)
    weighted = scaled * weights
    scores: Array = -(weighted.max(axis=1) + SUM_WEIGHT * weighted.sum(axis=1))
    return scores
