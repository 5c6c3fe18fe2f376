"""What is known of a quantity that a limit is set on, and the chance that a candidate keeps it."""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

from search.proposals.features import Features
from search.proposals.gaussian_process import Array
from search.proposals.limits import AtMost, Limit
from search.proposals.surrogate import Model

MIN_VALUES = 4  # before that a candidate's chance is not modelled


class QuantityModel:
    """A model of the quantity, on a logarithmic scale where all its values are positive.

    `calibration` is by how much more the values scatter about predictions from all others than
    those say, 1 at the least; deviations are multiplied by it. `error` is the root mean square of
    those predictions' errors, relative where the scale is logarithmic.
    """

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.error: float | None = None
        self.calibration = 1.0
        self._model = Model()
        self._threshold = 0.0
        self._ready = False

    def condition(self, features: Features, rows: Array, values: Array) -> None:
        self._ready = len(values) >= MIN_VALUES and float(np.ptp(values)) > 0
        if not self._ready:
            return
        threshold = self.limit.limit
        if threshold > 0 and float(values.min()) > 0:
            values, threshold = np.log(values), float(np.log(threshold))
        center, scale = float(values.mean()), float(values.std())
        standard = (values - center) / scale
        self._threshold = (threshold - center) / scale
        self._model.condition(features, rows, standard, -np.abs(standard - self._threshold))
        mean, deviation = self._model.process.left_out()
        errors = self._model.process.values - mean
        self.calibration = max(1.0, float(np.sqrt(np.mean((errors / deviation) ** 2))))
        self.error = float(np.sqrt(np.mean(errors**2))) * scale

    def log_chance(self, rows: Array) -> Array:
        """ln of the probability that the quantity keeps the limit, for each row."""
        if not self._ready:
            return np.zeros(len(rows))
        mean, deviation = self._model.predict(rows)
        noise = self._model.process.noise_deviation
        deviation = self.calibration * np.sqrt(deviation**2 + noise**2)
        sign = 1.0 if isinstance(self.limit, AtMost) else -1.0
        chance: Array = log_ndtr(sign * (self._threshold - mean) / deviation)
        return chance
