"""Model of a quantity that has a limit, and the probability that a candidate meets it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from search.bayesopt._score_model import QuantityProcess
from search.bayesopt.encoding import EncodedCandidates
from search.bayesopt.gaussian_process import Array, GaussianProcess
from search.bayesopt.limits import AtMost, Limit

MIN_VALUES = 4  # before that a candidate's chance is not modelled


class Quantity(Protocol):
    """Learns a quantity that a limit is set on. `error` is that of predictions from all others."""

    error: float | None

    def condition(self, seen: EncodedCandidates, values: Array) -> None: ...

    def log_chance(self, seen: EncodedCandidates) -> Array:
        """ln of the probability that the limit is kept, for each candidate."""
        ...

    def rules_out(self, log_chances: Array) -> NDArray[np.bool_]:
        """Return which candidates surely miss the limit, by their `log_chance`."""
        ...


class QuantityModel:
    """A model of the quantity, on a logarithmic scale if all its values are positive.

    `calibration` is by how much more the values scatter about predictions from all others than
    those say, 1 at the least; deviations are multiplied by it. `error` is the root mean square of
    those predictions' errors, relative if the scale is logarithmic.
    """

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.error: float | None = None
        self.calibration = 1.0
        self._process = QuantityProcess()
        self._model: GaussianProcess | None = None
        self._threshold = 0.0

    def condition(self, seen: EncodedCandidates, values: Array) -> None:
        if len(values) < MIN_VALUES or float(np.ptp(values)) == 0:
            return
        threshold = self.limit.limit
        if threshold > 0 and float(values.min()) > 0:
            values, threshold = np.log(values), float(np.log(threshold))
        center, scale = float(values.mean()), float(values.std())
        standard = (values - center) / scale
        self._threshold = (threshold - center) / scale
        nearness = -np.abs(standard - self._threshold)
        self._model = self._process.condition(seen.features, seen.rows, standard, nearness)
        mean, deviation = self._model.left_out()
        errors = self._model.values - mean
        self.calibration = max(1.0, float(np.sqrt(np.mean((errors / deviation) ** 2))))
        self.error = float(np.sqrt(np.mean(errors**2))) * scale

    def log_chance(self, seen: EncodedCandidates) -> Array:
        """ln of the probability that the quantity keeps the limit, for each candidate."""
        if self._model is None:
            return np.zeros(len(seen.rows))
        mean, deviation = self._model.predict(seen.rows)
        noise = self._model.noise_deviation
        deviation = self.calibration * np.sqrt(deviation**2 + noise**2)
        sign = 1.0 if isinstance(self.limit, AtMost) else -1.0
        chance: Array = log_ndtr(sign * (self._threshold - mean) / deviation)
        return chance

    def rules_out(self, log_chances: Array) -> NDArray[np.bool_]:
        """None: of a quantity about which nothing is known, a model proves nothing."""
        return np.zeros(len(log_chances), dtype=np.bool_)
