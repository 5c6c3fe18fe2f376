"""Models that grow with a study: a score to be raised, and a quantity that a limit is set on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from search.proposals.features import Features
from search.proposals.gaussian_process import (
    Array,
    GaussianProcess,
    Hyperparameters,
    default_hyperparameters,
    fit_hyperparameters,
)

MAX_CONDITIONED = 300  # values that predictions rest on; the rest is left out
MAX_FITTED = 200  # values that hyperparameters are fitted to
REFIT_GROWTH = 1.1  # they are fitted anew when there are this many times as many values
MAX_STEPS = 60  # of a climb


class Model:
    """A Gaussian process that is conditioned anew when asked, and fitted anew as values come in.

    Where there are more values than it can hold, it keeps those nearest to what matters: `weights`
    are highest there.
    """

    def __init__(self) -> None:
        self._found: Hyperparameters | None = None
        self._fitted_at = 0
        self._process: GaussianProcess | None = None
        self._features: Features | None = None

    def condition(self, features: Features, rows: Array, values: Array, matter: Array) -> None:
        """`values` have mean about 0 and spread about 1; the highest of `matter` are kept."""
        kept = _kept(matter, MAX_CONDITIONED)
        fresh = self._features is not features
        if fresh or len(values) >= REFIT_GROWTH * self._fitted_at or self._found is None:
            start = self._found
            if fresh or start is None:
                start = default_hyperparameters(features.num_groups)
            some = _kept(matter, MAX_FITTED)
            self._found = fit_hyperparameters(
                rows[some], values[some], features.groups, start, MAX_STEPS
            )
            self._fitted_at, self._features = len(values), features
        self._process = GaussianProcess(rows[kept], values[kept], features.groups, self._found)

    def predict(self, rows: Array) -> tuple[Array, Array]:
        assert self._process is not None, "conditioned first"
        return self._process.predict(rows)

    @property
    def process(self) -> GaussianProcess:
        assert self._process is not None, "conditioned first"
        return self._process


def _kept(matter: Array, number: int) -> NDArray[np.intp]:
    """Half of `number` by what matters most, half spread evenly over the rest by age."""
    if len(matter) <= number:
        return np.arange(len(matter))
    order = np.argsort(-matter, kind="stable")
    best, rest = order[: number // 2], np.sort(order[number // 2 :])
    spread = rest[np.linspace(0, len(rest) - 1, number - number // 2).astype(np.intp)]
    return np.sort(np.concatenate([best, spread]))


def warped(scores: Array) -> Array:
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
    """ln E[max(0, value - best)], also where it is too small to be held plainly.

    Ament et al. 2023 (arXiv 2310.20708).
    """
    z = (mean - best) / deviation
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        plain = np.log(np.maximum(norm.pdf(z) + z * norm.cdf(z), 1e-300))
        # far below, pdf(z) + z cdf(z) tends to pdf(z) / z²
        far = norm.logpdf(z) - 2 * np.log(np.maximum(np.abs(z), 1.0))
    result: Array = np.where(z < -30, far, plain) + np.log(deviation)
    return result
