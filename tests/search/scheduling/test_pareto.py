from __future__ import annotations

import random
from typing import Any

import pytest

from search.scheduling.pareto import costs_of, front_of, front_scores
from search.storage.records import TrialRecord, TrialState

AXES = ("accuracy", "train")


def trial(number: int, accuracy: float | None, speed: float | None, **more: Any) -> TrialRecord:
    measured = [] if speed is None else [{"mode": "train", "images_per_second": speed}]
    state = TrialState.COMPLETE if accuracy is not None else TrialState.REJECTED
    score = None if accuracy is None else {"value": accuracy}
    return TrialRecord(number=number, state=state, score=score, measurements=measured, **more)


def test_on_the_front_are_those_that_no_other_beats_in_everything() -> None:
    trials = [
        trial(0, 0.7, 900),
        trial(1, 0.9, 300),
        trial(2, 0.8, 800),
        trial(3, 0.6, 850),  # 0 is better in both
        trial(4, 0.8, 700),  # as accurate as 2, and slower
    ]
    assert [record.number for record in front_of(trials, AXES)] == [1, 2, 0]


def test_of_equals_the_first_is_on_the_front() -> None:
    assert [r.number for r in front_of([trial(3, 0.7, 9), trial(5, 0.7, 9)], AXES)] == [3]


def test_what_was_not_trained_or_not_measured_is_on_no_front() -> None:
    trials = [trial(0, None, 5000), trial(1, 0.9, None), trial(2, 0.5, 10)]
    assert [record.number for record in front_of(trials, AXES)] == [2]
    assert set(front_scores(trials, AXES, random.Random(0))) == {2}


def test_what_missed_its_budget_when_it_was_measured_again_is_on_no_front() -> None:
    trials = [trial(0, 0.9, 500), trial(1, 0.5, 100), trial(2, None, 90, confirms=0)]
    assert [record.number for record in front_of(trials, AXES)] == [1]


@pytest.mark.parametrize("axis", ["params", "macs"])
def test_what_is_counted_is_to_be_low(axis: str) -> None:
    trials = [trial(0, 0.7, 1, **{axis: 10}), trial(1, 0.9, 1, **{axis: 30})]
    trials.append(trial(2, 0.6, 1, **{axis: 20}))
    assert [record.number for record in front_of(trials, ("accuracy", axis))] == [1, 0]


def test_memory_and_latency_are_to_be_low() -> None:
    quick = trial(0, 0.5, None, peak_memory_bytes=100)
    slow = trial(1, 0.5, None, peak_memory_bytes=200)
    for record, speed in ((quick, 200.0), (slow, 100.0)):
        record.measurements.append({"mode": "latency", "images_per_second": speed})
    for axis in ("memory", "latency"):
        low, high = (costs_of(record, ("accuracy", axis)) for record in (quick, slow))
        assert low is not None
        assert high is not None
        assert low[1] < high[1]


def test_proposals_weigh_the_axes_anew_and_over_many_each_end_of_the_front_is_best() -> None:
    trials = [trial(0, 0.9, 100), trial(1, 0.7, 500), trial(2, 0.2, 1000), trial(3, 0.1, 90)]
    generator = random.Random(0)
    best = set()
    for _ in range(50):
        scores = front_scores(trials, AXES, generator)
        best.add(max(scores, key=lambda number: scores[number]))
    assert best == {0, 1, 2}


def test_scores_follow_from_the_generator() -> None:
    trials = [trial(0, 0.9, 100), trial(1, 0.2, 1000)]
    first, second = (front_scores(trials, AXES, random.Random(7)) for _ in range(2))
    assert first == second
    assert front_scores([], AXES, random.Random(7)) == {}
