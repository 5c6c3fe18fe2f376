"""A Gaussian process over rows of features, a length scale for each parameter.

Matérn 5/2 on the distance r² = Σ θ_j d_j², d_j² the squared distance in parameter j; θ and the
noise have the highest posterior density under weak priors, the signal's variance is solved for.
Rasmussen and Williams, Gaussian Processes for Machine Learning, chapters 2 and 5; the prior of the
length scales, which grows with the number of parameters, is from Hvarfner et al. 2024
(arXiv 2402.02229).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Array = NDArray[np.float64]

ROOT_5 = float(np.sqrt(5.0))
LENGTH_LOCATION, LENGTH_SCALE = float(np.sqrt(2.0)), 1.0  # of ln length
NOISE_LOCATION, NOISE_SCALE = -7.0, 2.0  # of ln (noise variance / signal variance)
JITTER = 1e-8  # of the diagonal, lest rounding make the matrix singular
SLICE_WIDTH, MAX_SHRINKS = 4.0, 20  # of a slice, on logarithms
BOUNDS_THETA, BOUNDS_NOISE = (-14.0, 7.0), (-14.0, 2.0)


@dataclass(frozen=True)
class Hyperparameters:
    """Logarithms of θ for each parameter, and of noise variance over signal variance."""

    log_theta: Array
    log_noise: float


def matern(squared: Array) -> tuple[Array, Array]:
    """The correlation at squared distances, and its derivative by the squared distance."""
    root = ROOT_5 * np.sqrt(squared)
    decay = np.exp(-root)
    return (1 + root + root * root / 3) * decay, (-5 / 6) * (1 + root) * decay


def squared_distances(left: Array, right: Array) -> Array:
    squared: Array = (left**2).sum(1)[:, None] + (right**2).sum(1)[None] - 2 * left @ right.T
    return np.maximum(squared, 0.0)


def _within(rows: Array) -> Array:
    return squared_distances(rows, rows)


def default_hyperparameters(num_parameters: int) -> Hyperparameters:
    location = LENGTH_LOCATION + 0.5 * np.log(max(num_parameters, 1))
    return Hyperparameters(np.full(num_parameters, -2 * location), NOISE_LOCATION)


class Posterior:
    """Of the hyperparameters, given values of mean about 0: ln θ of each group, then ln noise."""

    def __init__(self, rows: Array, values: Array, groups: NDArray[np.intp]) -> None:
        self._number = int(groups.max()) + 1
        self._size = len(values)
        parts = [_within(rows[:, groups == j]) for j in range(self._number)]
        self._parts = np.stack(parts).reshape(self._number, -1)
        self._values = values
        self._prior = default_hyperparameters(self._number)
        self._identity = np.eye(self._size)

    def highest(self, start: Hyperparameters, max_steps: int) -> Hyperparameters:
        """Those of the highest density that a climb from `start` finds."""
        found = minimize(
            self._negative_with_gradient,
            np.append(start.log_theta, start.log_noise),
            jac=True,
            method="L-BFGS-B",
            bounds=[BOUNDS_THETA] * self._number + [BOUNDS_NOISE],
            options={"maxiter": max_steps},
        )
        return Hyperparameters(found.x[:-1], float(found.x[-1]))

    def draw(
        self, start: Hyperparameters, num_updates: int, generator: random.Random
    ) -> Hyperparameters:
        """One draw further along a chain: slice sampling, a coordinate at a time (Neal 2003)."""
        point = np.append(start.log_theta, start.log_noise)
        density = -self._negative(point)
        for _ in range(num_updates):
            index = generator.randrange(len(point))
            level = density + math.log(1.0 - generator.random())
            low = point[index] - SLICE_WIDTH * generator.random()
            high = low + SLICE_WIDTH
            for _ in range(MAX_SHRINKS):
                other = point.copy()
                other[index] = generator.uniform(low, high)
                if (found := -self._negative(other)) > level:
                    point, density = other, found
                    break
                low, high = (
                    (other[index], high) if other[index] < point[index] else (low, other[index])
                )
        return Hyperparameters(point[:-1], float(point[-1]))

    def _negative(self, point: Array) -> float:
        correlation, _ = matern((np.exp(point[:-1]) @ self._parts).reshape(self._size, self._size))
        return self._density(point, correlation)[0]

    def _density(self, point: Array, correlation: Array) -> tuple[float, Array, Array, float]:
        """Minus the logarithm, the factor, the weights of the values, the signal's variance."""
        noise = float(np.exp(point[-1])) + JITTER
        factor = cholesky(correlation + noise * self._identity, lower=True, check_finite=False)
        weights = cho_solve((factor, True), self._values, check_finite=False)
        variance = max(float(self._values @ weights) / self._size, 1e-12)
        from_prior, noise_from_prior = self._from_prior(point)
        negative = (
            0.5 * self._size * np.log(variance)
            + np.log(np.diag(factor)).sum()
            + 0.5 * (from_prior @ from_prior + noise_from_prior**2)
        )
        return float(negative), factor, weights, variance

    def _from_prior(self, point: Array) -> tuple[Array, float]:
        """Distance of each from the middle of its prior, in standard deviations."""
        theta = (point[:-1] - self._prior.log_theta) / (2 * LENGTH_SCALE)
        return theta, (point[-1] - self._prior.log_noise) / NOISE_SCALE

    def _negative_with_gradient(self, point: Array) -> tuple[float, Array]:
        theta = np.exp(point[:-1])
        correlation, slope = matern((theta @ self._parts).reshape(self._size, self._size))
        negative, factor, weights, variance = self._density(point, correlation)
        inverse = cho_solve((factor, True), self._identity, check_finite=False)
        sensitivity = 0.5 * (inverse - np.outer(weights, weights) / variance)
        from_prior, noise_from_prior = self._from_prior(point)
        gradient = np.empty_like(point)
        gradient[:-1] = theta * (self._parts @ (sensitivity * slope).ravel())
        gradient[:-1] += from_prior / (2 * LENGTH_SCALE)
        gradient[-1] = math.exp(point[-1]) * np.trace(sensitivity) + noise_from_prior / NOISE_SCALE
        return negative, gradient


class GaussianProcess:
    """Conditioned on values of mean about 0 and spread about 1."""

    def __init__(
        self, rows: Array, values: Array, groups: NDArray[np.intp], found: Hyperparameters
    ) -> None:
        self._scales = np.exp(0.5 * found.log_theta)[groups]
        self._rows = rows * self._scales
        correlation, _ = matern(squared_distances(self._rows, self._rows))
        noise = float(np.exp(found.log_noise)) + JITTER
        self._factor = cholesky(
            correlation + noise * np.eye(len(values)), lower=True, check_finite=False
        )
        self._weights = cho_solve((self._factor, True), values, check_finite=False)
        self._variance = max(float(values @ self._weights) / len(values), 1e-12)
        self.values = values
        self.noise_deviation = float(np.sqrt(self._variance * noise))

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Means and standard deviations of the noiseless values."""
        across, _ = matern(squared_distances(rows * self._scales, self._rows))
        solved = solve_triangular(self._factor, across.T, lower=True, check_finite=False)
        spread = np.maximum(1.0 - (solved**2).sum(axis=0), 1e-10)
        return across @ self._weights, np.sqrt(self._variance * spread)

    def left_out(self) -> tuple[Array, Array]:
        """Means and standard deviations for each value from all others (equations 5.12)."""
        inverse = cho_solve((self._factor, True), np.eye(len(self.values)), check_finite=False)
        diagonal = np.diag(inverse)
        return self.values - self._weights / diagonal, np.sqrt(self._variance / diagonal)
