"""Who continues to the next rung, and when."""

from __future__ import annotations

import pytest

from search.scheduling.successive_halving import Halving
from search.storage.records import TrialRecord, TrialState


def paused(number: int, *scores: float, of: str | None = None) -> TrialRecord:
    """A candidate after as many epochs as there are scores."""
    score = {"value": scores[-1], "epochs": len(scores), "by_epoch": list(scores)}
    return TrialRecord(
        number=number, state=TrialState.PRUNED, digest=of or f"digest{number}", score=score
    )


def complete(number: int, *scores: float, of: str | None = None) -> TrialRecord:
    record = paused(number, *scores, of=of)
    record.state = TrialState.COMPLETE
    return record


@pytest.mark.parametrize(
    ("epochs", "factor", "rungs"),
    [(9, 3, (1, 3, 9)), (8, 3, (2, 8)), (8, 2, (2, 4, 8)), (100, 4, (6, 25, 100)), (1, 3, (1,))],
)
def test_rungs_are_parts_of_the_epochs_and_three_at_the_most(
    epochs: int, factor: int, rungs: tuple[int, ...]
) -> None:
    assert Halving(epochs, factor).rungs == rungs


HALVING = Halving(4, 2)  # rungs of 1, 2 and 4 epochs


def test_one_in_factor_of_those_that_have_come_as_far_goes_on() -> None:
    assert HALVING.promotion([paused(0, 0.5)]) is None
    promoted = HALVING.promotion([paused(0, 0.5), paused(1, 0.6)])
    assert promoted is not None
    assert (promoted.record.number, promoted.epochs) == (1, 2)


def test_who_has_gone_on_does_not_go_on_again_and_still_counts() -> None:
    records = [paused(0, 0.5), paused(1, 0.6), paused(2, 0.6, 0.7, of="digest1")]
    assert HALVING.promotion(records) is None
    records += [paused(3, 0.55), paused(4, 0.4)]  # four have come to the first rung: two continue
    promoted = HALVING.promotion(records)
    assert promoted is not None
    assert promoted.record.number == 3


def test_the_highest_rung_comes_first() -> None:
    records = [
        *(paused(0, 0.5), paused(1, 0.6), paused(2, 0.6, 0.7, of="digest1")),
        *(paused(3, 0.9), paused(4, 0.9, 0.95, of="digest3")),
        *(paused(5, 0.8), paused(6, 0.3)),
    ]
    promoted = HALVING.promotion(records)
    assert promoted is not None
    assert (promoted.record.number, promoted.epochs) == (4, 4)
    records.append(complete(7, 0.9, 0.95, 0.96, 0.97, of="digest3"))
    promoted = HALVING.promotion(records)
    assert promoted is not None
    assert (promoted.record.number, promoted.epochs) == (5, 2)


def test_what_is_under_way_is_not_promoted() -> None:
    records = [paused(0, 0.5), paused(1, 0.6)]
    assert HALVING.promotion(records, under_way={"digest1"}) is None


def test_at_the_end_the_best_goes_all_the_way_however_few_there_are() -> None:
    records = [paused(0, 0.5)]
    last = HALVING.promotion(records, last=True)
    assert last is not None
    records.append(paused(1, 0.5, 0.6, of="digest0"))
    last = HALVING.promotion(records, last=True)
    assert last is not None
    assert (last.record.number, last.epochs) == (1, 4)
    records.append(complete(2, 0.5, 0.6, 0.6, 0.7, of="digest0"))
    assert HALVING.promotion(records, last=True) is None


def test_a_candidate_that_failed_further_on_is_not_tried_again() -> None:
    failed = TrialRecord(number=2, state=TrialState.FAILED, digest="digest1", continues=1)
    records = [paused(0, 0.5), paused(1, 0.6), failed]
    assert HALVING.promotion(records) is None
