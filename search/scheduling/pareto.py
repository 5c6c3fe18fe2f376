"""The front of accuracy against what it costs: the trials that no other beats in everything."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np

from search.bayesopt.scalarization import random_weights, tchebycheff_scores
from search.formatting import MODES
from search.storage.records import TrialRecord, standing


def costs_of(record: TrialRecord, axes: Sequence[str]) -> tuple[float, ...] | None:
    """Return the costs to minimise, one for each axis: negative accuracy, logarithms of seconds an
    image, bytes, params, MACs. None if the trial is not complete or one was not measured."""
    costs = [_cost(record, axis) for axis in axes]
    known = tuple(cost for cost in costs if cost is not None)
    return known if record.accuracy is not None and len(known) == len(costs) else None


def front_of(records: Sequence[TrialRecord], axes: Sequence[str]) -> list[TrialRecord]:
    """The complete trials that no other beats or equals in every axis, the most accurate first;
    of equals the first. Measured figures are compared by their medians."""
    complete = standing(records)
    found = [(cost, record) for record in complete if (cost := costs_of(record, axes)) is not None]
    front: list[tuple[tuple[float, ...], TrialRecord]] = []
    for costs, record in sorted(found, key=lambda item: item[0]):
        # whoever beats it comes before it in this order
        if not any(all(map(float.__le__, other, costs)) for other, _ in front):
            front.append((costs, record))
    return sorted((record for _, record in front), key=lambda record: -(record.accuracy or 0.0))


def front_scores(
    records: Sequence[TrialRecord], axes: Sequence[str], generator: random.Random
) -> dict[int, float]:
    """A score to be raised, by trial number, for one proposal: the axes under random weights.

    Each call draws other weights, so that proposals spread along the front (ParEGO, Knowles 2006).
    Trials that are not complete have none.
    """
    known = [(r.number, costs) for r in records if (costs := costs_of(r, axes)) is not None]
    weights = random_weights(generator, len(axes))
    if not known:
        return {}
    scores = tchebycheff_scores(np.array([costs for _, costs in known]), weights)
    return {number: float(score) for (number, _), score in zip(known, scores, strict=True)}


def _cost(record: TrialRecord, axis: str) -> float | None:
    if axis == "accuracy":
        return None if record.accuracy is None else -record.accuracy
    if axis in MODES:
        measured = record.measurement(axis)
        speed = None if measured is None else measured["images_per_second"]
        return None if speed is None else -math.log(speed)
    amount = record.peak_memory_bytes if axis == "memory" else getattr(record, axis)
    return None if amount is None else math.log(max(amount, 1))
