from __future__ import annotations

import io

from rich.console import Console

from search.cli.progress import LiveObserver, describe
from search.storage.records import TrialRecord, TrialState


def shown(observer: LiveObserver) -> list[str]:
    return str(observer._live.renderable).splitlines()


def ended(number: int, state: TrialState = TrialState.REJECTED) -> TrialRecord:
    return TrialRecord(number=number, state=state)


def an_observer() -> LiveObserver:
    return LiveObserver(Console(file=io.StringIO()))


def test_one_candidate_is_shown_on_one_line_with_what_is_being_done() -> None:
    observer = an_observer()
    observer.phase("train", 9)  # before the first trial, of a best that is trained again
    assert shown(observer) == ["train  ·  best: none yet"]
    observer.trial_started(4, done=4, total=16)
    observer.phase("measure train", 4)
    assert shown(observer) == ["[5/16] measure train  ·  best: none yet"]
    observer.trial_finished(ended(4, TrialState.LOST), None)
    observer.trial_started(5, done=4, total=16)
    observer.phase("build", 5)
    assert shown(observer) == ["[5/16] build  ·  best: none yet"]


def test_of_several_candidates_each_has_a_line_and_the_first_says_how_many_are_done() -> None:
    observer = an_observer()
    observer.trial_started(0, done=0, total=3)
    observer.trial_started(2, done=1, total=3)
    observer.phase("train, epoch 1 of 5", 0)
    observer.phase("measure train", 2)
    assert shown(observer) == [
        "0 of 3 done  ·  best: none yet",
        "  trial 0  train, epoch 1 of 5",
        "  trial 2  measure train",
    ]
    observer.trial_finished(ended(2), None)
    assert shown(observer)[0].startswith("[2/3] train, epoch 1 of 5  ·  best: none yet")
    observer.trial_started(3, done=1, total=3)
    first, *rest = shown(observer)
    assert first.startswith("1 of 3 done  ·  best: none yet  ·  about ")
    assert rest == ["  trial 0  train, epoch 1 of 5", "  trial 3  "]


def test_what_trains_further_or_is_measured_again_is_not_one_more_that_is_done() -> None:
    observer = an_observer()
    observer.trial_started(0, done=0, total=2)
    observer.trial_finished(ended(0, TrialState.PRUNED), None)
    for again in ({"continues": 0}, {"confirms": 0}):
        observer.trial_started(1, done=1, total=2)
        record = TrialRecord(number=1, state=TrialState.COMPLETE, **again)
        observer.trial_finished(record, None)
    assert shown(observer)[0].startswith("[2/2] ")
    assert observer._done == 1


def test_a_confirmation_says_whose_it_is() -> None:
    again = TrialRecord(number=16, state=TrialState.COMPLETE, confirms=9)
    assert describe(again) == "trial 16, trial 9 measured again  COMPLETE"
