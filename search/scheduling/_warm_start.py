"""Warm start: the trained candidate whose weights a new one begins with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.storage.records import TrialRecord, TrialState


def nearest(
    params: Mapping[str, Any],
    records: Sequence[TrialRecord],
    params_of: Mapping[int, Mapping[str, Any]],
) -> TrialRecord | None:
    """The trained candidate that shares most choices with `params`; of equals, the best.

    `params_of` are those of the trials, by number. None if nothing is trained yet.
    """
    trained = [r for r in records if r.state is TrialState.COMPLETE and r.number in params_of]
    if not trained:
        return None

    def likeness(record: TrialRecord) -> tuple[float, float]:
        other = params_of[record.number]
        together = params.items() & other.items()
        either = params.keys() | other.keys()
        return len(together) / max(1, len(either)), record.accuracy or 0.0

    return max(trained, key=likeness)
