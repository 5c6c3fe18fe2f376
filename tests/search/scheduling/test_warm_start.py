"""The trained candidate whose weights a new one begins with."""

from __future__ import annotations

from search.scheduling._warm_start import nearest
from search.storage.records import TrialRecord, TrialState


def trained(number: int, accuracy: float, state: TrialState = TrialState.COMPLETE) -> TrialRecord:
    score = {"value": accuracy, "epochs": 1, "by_epoch": [accuracy]}
    return TrialRecord(number=number, state=state, score=score)


def test_the_nearest_shares_most_choices_and_of_equals_it_is_the_best() -> None:
    params_of = {
        0: {"depth": 1, "width": 8, "mixer": "pooling"},
        1: {"depth": 2, "width": 8, "mixer": "attention", "mixer.heads": 4},
        2: {"depth": 1, "width": 16, "mixer": "pooling"},
    }
    records = [trained(0, 0.5), trained(1, 0.9), trained(2, 0.6)]
    near = nearest({"depth": 2, "width": 16, "mixer": "pooling"}, records, params_of)
    assert near is not None
    assert near.number == 2
    equal = nearest({"depth": 1, "width": 4, "mixer": "pooling"}, records, params_of)
    assert equal is not None
    assert equal.number == 2


def test_what_was_not_trained_to_the_end_gives_nothing() -> None:
    records = [trained(0, 0.5, TrialState.PRUNED), TrialRecord(number=1, state=TrialState.REJECTED)]
    assert nearest({"depth": 1}, records, {0: {"depth": 1}, 1: {"depth": 1}}) is None
