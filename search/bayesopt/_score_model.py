"""Models that grow with a study: a score to be raised, and a quantity that a limit is set on."""

from __future__ import annotations

import random

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import norm, rankdata

from search.bayesopt.encoding import Features
from search.bayesopt.gaussian_process import (
    Array,
    GaussianProcess,
    Hyperparameters,
    Posterior,
    default_hyperparameters,
)

MAX_CONDITIONED = 300  # values that predictions rest on; the rest is left out
MAX_FITTED = 200  # values that hyperparameters are fitted to
MAX_SAMPLED = 100  # values that they are drawn by
REFIT_GROWTH = 1.1  # they are found again when there are this many times as many values
MAX_STEPS = 60  # of a climb
NUM_DRAWS = 5  # of hyperparameters, for a score
MAX_UPDATES = 10  # between draws


class QuantityProcess:
    """A Gaussian process at the most likely hyperparameters; found again as values come in.

    Where there are more values than it can hold, it keeps half by `matter`, half spread over the
    rest.
    """

    def __init__(self) -> None:
        self._found: Hyperparameters | None = None
        self._fitted_at = 0
        self._features: Features | None = None

    def condition(
        self, features: Features, rows: Array, values: Array, matter: Array
    ) -> GaussianProcess:
        """`values` have mean about 0 and spread about 1; the highest of `matter` are kept."""
        if self._features is not features or self._found is None:
            self._found = default_hyperparameters(features.num_groups)
            self._features, self._fitted_at = features, 0
        if len(values) >= REFIT_GROWTH * self._fitted_at:
            some = _kept(matter, MAX_FITTED)
            posterior = Posterior(rows[some], values[some], features.groups)
            self._found = posterior.highest(self._found, MAX_STEPS)
            self._fitted_at = len(values)
        kept = _kept(matter, MAX_CONDITIONED)
        return GaussianProcess(rows[kept], values[kept], features.groups, self._found)


class ScoreModel:
    """Gaussian processes at several draws of the hyperparameters, so that few scores do not pass
    for certain knowledge of which parameters matter."""

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator
        self._draws: list[Hyperparameters] = []
        self._drawn_at = 0
        self._features: Features | None = None
        self._processes: list[tuple[GaussianProcess, float]] = []

    def condition(self, features: Features, rows: Array, scores: Array) -> None:
        values = half_rank_warp(scores)
        if self._features is not features or not self._draws:
            some = _kept(values, MAX_FITTED)
            posterior = Posterior(rows[some], values[some], features.groups)
            start = default_hyperparameters(features.num_groups)
            self._draws = [posterior.highest(start, MAX_STEPS)]
            self._features, self._drawn_at = features, 0
        if len(values) <= MAX_SAMPLED or len(values) >= REFIT_GROWTH * self._drawn_at:
            some = _kept(values, MAX_SAMPLED)
            posterior = Posterior(rows[some], values[some], features.groups)
            num_updates = min(features.num_groups + 1, MAX_UPDATES)
            draws = [self._draws[-1]]
            for _ in range(NUM_DRAWS):
                draws.append(posterior.draw(draws[-1], num_updates, self._generator))
            self._draws, self._drawn_at = draws[1:], len(values)
        kept = _kept(values, MAX_CONDITIONED)
        self._rows, self._values = rows[kept], values[kept]
        self._processes = []
        for found in self._draws:
            process = GaussianProcess(self._rows, self._values, features.groups, found)
            self._processes.append((process, float(process.predict(self._rows)[0].max())))

    def believe(self, rows: Array) -> None:
        """Takes those that are being evaluated to score what is predicted of them, so that what
        is proposed next to them is not more of the same (Ginsbourger et al. 2010, kriging
        believer).
        """
        assert self._features is not None, "asked before any score"
        all_rows = np.concatenate([self._rows, rows])
        believing = []
        for (process, best), found in zip(self._processes, self._draws, strict=True):
            values = np.concatenate([self._values, process.predict(rows)[0]])
            believer = GaussianProcess(all_rows, values, self._features.groups, found)
            believing.append((believer, best))
        self._processes = believing

    def log_gains(self, rows: Array) -> Array:
        """ln of the expected improvement over the best so far, the mean over the draws."""
        gains = [
            log_expected_improvement(*process.predict(rows), best)
            for process, best in self._processes
        ]
        result: Array = logsumexp(gains, axis=0) - np.log(len(gains))
        return result


def _kept(matter: Array, number: int) -> NDArray[np.intp]:
    """Half of `number` by what matters most, half spread evenly over the rest by age."""
    if len(matter) <= number:
        return np.arange(len(matter))
    order = np.argsort(-matter, kind="stable")
    best, rest = order[: number // 2], np.sort(order[number // 2 :])
    spread = rest[np.linspace(0, len(rest) - 1, number - number // 2).astype(np.intp)]
    return np.sort(np.concatenate([best, spread]))


def half_rank_warp(scores: Array) -> Array:
    """Scores at mean 0 and spread 1, the lower half by its ranks.

    How bad a bad one is tells nothing about the best, and one broken candidate may lie further
    below than all others are apart. The lower half gets the normal quantiles of its ranks, scaled
    to the spread of the upper half (the half-rank warping of Vizier, arXiv 2408.11527, 4.1).
    """
    median = float(np.median(scores))
    upper = scores >= median
    spread = float(np.sqrt(np.mean((scores[upper] - median) ** 2))) or 1.0
    values = scores - median
    ranks = rankdata(scores[~upper])
    values[~upper] = spread * norm.ppf(0.5 * ranks / (len(ranks) + 1))
    return _standardised(values)


def _standardised(values: Array) -> Array:
    spread = float(values.std())
    result: Array = (values - values.mean()) / (spread if spread > 0 else 1.0)
    return result


def log_expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """ln E[max(0, value - best)], also if it is too small to be held plainly.

    Ament et al. 2023 (arXiv 2310.20708).
    """
    z = (mean - best) / deviation
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        plain = np.log(np.maximum(norm.pdf(z) + z * norm.cdf(z), 1e-300))
        # far below, pdf(z) + z cdf(z) tends to pdf(z) / z²
        far = norm.logpdf(z) - 2 * np.log(np.maximum(np.abs(z), 1.0))
    result: Array = np.where(z < -30, far, plain) + np.log(deviation)
    return result
