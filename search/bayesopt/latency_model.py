"""The time of a network as a sum over its blocks, learned from the networks measured so far.

A block costs what its mixer, MLP and other parts cost, at the size of its stage's map: an overhead,
a part that grows with the width and one that grows with its square. Blocks, stages and what lies
between them add up. Each cost is learned, for all stages together and, as far as measurements say
so, for a stage by itself. It is ridge regression on seconds (not on their logarithm, since it is
seconds that add up) with relative errors, in its kernel form; Rasmussen and Williams, Gaussian
Processes for Machine Learning, chapters 2 and 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import t as student

from search.bayesopt.encoding import HasParams
from search.bayesopt.gaussian_process import Array
from search.bayesopt.limits import AtMost

OVERHEADS = (0.01, 0.1, 1.0)  # prior variance of a block's cost whatever the width
RIDGES = tuple(10.0**power for power in range(-5, 1))  # variance of a measurement over the signal's
WIDENING = 2.0  # prior variance of what grows with the width, and of what grows with its square
OWN = 0.1  # of what a stage's costs have to themselves
CONSTANT, BETWEEN = 0.2, 0.07  # of what all networks share, and of what lies between stages
MIN_MEASURED = 12  # before nothing is ruled out by prediction
SURE = 0.01  # a chance below this is ruled out: the verdict's own rate of error
MAX_MEASURED = 300  # values that the model rests on: those nearest to the limit
REFIT_GROWTH = 1.1  # overhead and ridge are chosen again at this many times as many values
IMPOSSIBLE = -300.0  # ln of the chance of what makes no network

Describe: TypeAlias = Callable[[Mapping[str, Any]], "Description | None"]


@dataclass(frozen=True)
class Description:
    """By stage: the width, and how often or how much of each part its blocks have."""

    widths: tuple[int, ...]
    parts: tuple[Mapping[str, float], ...]


class StageTimes:
    """Predicts seconds per image, which `limit` bounds from above.

    `describe` gives what the time of a candidate depends on, None for values that make no network.
    `error` is the root mean square of the relative errors with which each measured network is
    predicted from all others, None before there are enough of them; intervals are widened until
    they cover those errors.
    """

    def __init__(self, limit: AtMost, describe: Describe) -> None:
        self.limit = limit
        self.error: float | None = None
        self.num_measured = 0
        self._describe = describe
        self._fit: _Fit | None = None
        self._chosen: tuple[float, float] | None = None
        self._chosen_at = 0

    def condition(self, seen: HasParams, values: Array) -> None:
        """`values` are the seconds per image of the networks in `seen`."""
        if len(values) < 4 or float(np.ptp(values)) == 0 or len(values) == self.num_measured:
            return
        self.num_measured = len(values)
        nearest = np.argsort(np.abs(np.log(values / self.limit.limit)), kind="stable")
        kept = np.sort(nearest[:MAX_MEASURED])
        described = [self._describe(seen.params[int(index)]) for index in kept]
        known = [index for index, found in enumerate(described) if found is not None]
        table = _Table([found for found in described if found is not None])
        if len(values) >= REFIT_GROWTH * self._chosen_at:
            self._chosen, self._chosen_at = None, len(values)
        candidates = product(OVERHEADS, RIDGES) if self._chosen is None else [self._chosen]
        fits = [_Fit(table, values[kept][known], *candidate) for candidate in candidates]
        self._fit = min(fits, key=lambda fit: fit.error)
        self._chosen = self._fit.overhead, self._fit.ridge
        self.error = self._fit.error

    def log_chance(self, seen: HasParams) -> Array:
        """ln of the probability that a network keeps the limit, for each candidate."""
        chances = np.zeros(len(seen.params))
        if self._fit is None:
            return chances
        seconds, deviation = self._predict(seen)
        chances = student.logcdf((self.limit.limit - seconds) / deviation, df=self._fit.freedom)
        result: Array = np.where(np.isnan(seconds), IMPOSSIBLE, chances)
        return result

    def typical_chance(self, seen: HasParams) -> Array:
        """The probability that a network keeps the limit, were all predicted as well as those
        measured are from each other: for sums over many, since one by one it is less careful than
        `log_chance`."""
        assert self._fit is not None, "asked before anything was measured"
        seconds, _ = self._predict(seen)
        return np.nan_to_num(self._typical(seconds))

    def variance(self) -> float:
        """Of whether a network keeps the limit, when it is predicted from others: as
        `typical_chance` states it, or as it proves to be for each measured one, whichever is
        larger."""
        assert self._fit is not None, "asked before anything was measured"
        chances = self._typical(self._fit.left_out)
        proved = np.mean(((self._fit.values <= self.limit.limit) - chances) ** 2)
        return float(max(proved, np.mean(chances * (1 - chances))))

    def _typical(self, seconds: Array) -> Array:
        assert self._fit is not None
        error = max(self._fit.error, 1e-9)  # relative
        chances: Array = student.cdf((self.limit.limit / seconds - 1) / error, df=self._fit.freedom)
        return np.where(seconds <= 0, 1.0, chances)  # extrapolated to nothing and below

    def rules_out(self, log_chances: Array) -> NDArray[np.bool_]:
        """Return which networks surely miss the limit, by their `log_chance`."""
        enough = self.num_measured >= MIN_MEASURED
        return (log_chances < np.log(SURE)) & enough

    def interval(self, seen: HasParams, alpha: float) -> tuple[Array, Array, Array]:
        """Predicted seconds per image, and the interval's ends at confidence 1 - alpha; NaN for
        what makes no network."""
        assert self._fit is not None, "asked before anything was measured"
        seconds, deviation = self._predict(seen)
        half = student.ppf(1 - alpha / 2, df=self._fit.freedom) * deviation
        return seconds, seconds - half, seconds + half

    def _predict(self, seen: HasParams) -> tuple[Array, Array]:
        assert self._fit is not None
        described = [self._describe(params) for params in seen.params]
        known = [index for index, found in enumerate(described) if found is not None]
        seconds, deviation = np.full((2, len(described)), np.nan)
        if known:
            found = self._fit.predict([item for item in described if item is not None])
            seconds[known], deviation[known] = found
        return seconds, deviation


class _Table:
    """Networks as numbers: relative widths, and parts times the relative area of their map.

    A table made `like` another has its stages, and more if its networks do.
    """

    def __init__(self, networks: Sequence[Description], like: _Table | None = None) -> None:
        names = {name for network in networks for parts in network.parts for name in parts}
        self.widest: int = max(max(n.widths) for n in networks) if like is None else like.widest
        self.largest: dict[str, float] = {} if like is None else dict(like.largest)
        for name in sorted(names - self.largest.keys()):
            amounts = [
                parts.get(name, 0.0) / max(parts["block"], 1.0)
                for n in networks
                for parts in n.parts
            ]
            self.largest[name] = max(map(abs, amounts)) or 1.0
        columns = {name: index for index, name in enumerate(self.largest)}
        # networks may differ in their number of stages: a stage that is not there has width 0
        stages = max(len(network.widths) for network in networks)
        stages = stages if like is None else max(stages, len(like.areas))
        areas: Array = 4.0 ** -np.arange(
            stages, dtype=np.float64
        )  # each stage has a quarter of the positions
        self.widths = np.zeros((len(networks), stages))
        for row, network in enumerate(networks):
            self.widths[row, : len(network.widths)] = np.array(network.widths) / self.widest
        self.parts = np.zeros((stages, len(networks), len(columns)))
        for row, network in enumerate(networks):
            for stage, parts in enumerate(network.parts):
                for name, amount in parts.items():
                    value = amount / self.largest[name] * areas[stage]
                    self.parts[stage, row, columns[name]] = value
        self.areas: Array = areas

    def kernel(self, other: _Table, overhead: float) -> Array:
        """Between all networks here and all there."""
        total = np.full((len(self.widths), len(other.widths)), CONSTANT)
        shared = self.parts.shape[2]  # columns that `other`, made like this one, may exceed
        for i, j in product(range(len(self.areas)), range(len(other.areas))):
            widths = np.outer(self.widths[:, i], other.widths[:, j])
            growth = overhead + WIDENING * (widths + widths**2)
            parts = self.parts[i] @ other.parts[j][:, :shared].T
            total += (1 + OWN * (i == j)) * growth * parts
        for i, area in enumerate(self.areas):
            total += BETWEEN * area**2 * np.outer(self.widths[:, i], other.widths[:, i])
        for i, area in enumerate(self.areas[1:]):
            left, right = (t.widths[:, i] * t.widths[:, i + 1] for t in (self, other))
            total += BETWEEN * area**2 * np.outer(left, right)
        return total

    def self_kernel(self, overhead: float) -> Array:
        """Of each network with itself."""
        total = np.full(len(self.widths), CONSTANT)
        for i, j in product(range(len(self.areas)), repeat=2):
            widths = self.widths[:, i] * self.widths[:, j]
            growth = overhead + WIDENING * (widths + widths**2)
            total += (1 + OWN * (i == j)) * growth * (self.parts[i] * self.parts[j]).sum(1)
        total += BETWEEN * (self.areas**2 * self.widths**2).sum(1)
        between = (self.widths[:, :-1] * self.widths[:, 1:]) ** 2
        total += BETWEEN * (self.areas[1:] ** 2 * between).sum(1)
        return total


class _Fit:
    """The regression at one overhead and ridge."""

    def __init__(self, table: _Table, values: Array, overhead: float, ridge: float) -> None:
        self.overhead, self.ridge = overhead, ridge
        self._table = table
        self._scale = float(values.mean())
        scaled = values / self._scale
        kernel = table.kernel(table, overhead)
        kernel[np.diag_indices_from(kernel)] += ridge * scaled**2  # errors are relative
        self._factor = cho_factor(kernel, lower=True)
        inverse = cho_solve(self._factor, np.eye(len(values)))
        self._weights = inverse @ scaled
        # each predicted from all others (Rasmussen and Williams, 5.4.2)
        variances = 1 / np.diag(inverse)
        left_out = self._weights * variances
        self.error = float(np.sqrt(np.mean((left_out / scaled) ** 2)))
        self.freedom = len(values) - 1
        self._amplitude = _amplitude(np.abs(left_out) / np.sqrt(variances), self.freedom)
        self.values, self.left_out = values, values - left_out * self._scale

    def predict(self, networks: Sequence[Description]) -> tuple[Array, Array]:
        """Seconds and their standard deviation, that of a measurement included."""
        table = _Table(networks, like=self._table)
        across = self._table.kernel(table, self.overhead).T
        mean = across @ self._weights
        explained = np.einsum("ij,ji->i", across, cho_solve(self._factor, across.T))
        prior = table.self_kernel(self.overhead)
        variance = np.maximum(prior - explained, 0.0) + self.ridge * mean**2
        return mean * self._scale, np.sqrt(self._amplitude * variance) * self._scale


def _amplitude(errors: Array, freedom: int) -> float:
    """By what the model's variances are multiplied, so that they are those of the errors it makes,
    in the middle and in the tail: errors are seldom as Gaussian as a model takes them to be."""
    tail = float(np.quantile(errors, 1 - SURE)) / float(student.ppf(1 - SURE / 2, df=freedom))
    return max(float(np.mean(errors**2)), tail**2)
