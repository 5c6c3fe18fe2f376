from __future__ import annotations

from metaformer.errors import Problem
from search.scheduling.passed_over import PassedOver, PassedOverCounter


def test_candidates_are_counted_by_mixer_else_by_place_whatever_the_stage() -> None:
    counter = PassedOverCounter(left_out={"others/x": "needs cuda"})
    for stage in (0, 1, 1):
        counter.add(Problem(f"stages[{stage}].width", "got 5; allowed: even numbers"))
        counter.add(Problem(f"stages[{stage}].mixer", "b: groups: got 3", mixer="b"))
    assert [str(found) for found in counter.found()] == [
        "mixer others/x: left out, its code is at fault: needs cuda",
        "stages[].width: 3 candidates passed over: got 5; allowed: even numbers",
        "mixer b: 3 candidates passed over: stages[0].mixer: b: groups: got 3",
    ]


def test_a_mixer_at_fault_is_reported_once_and_stands_first() -> None:
    notes: list[str] = []
    counter = PassedOverCounter(notes.append)
    counter.add(Problem("stages[0].width", "odd"))
    for _ in range(3):
        counter.add(Problem("stages[0].mixer", "a raised", mixer="a", is_fault=True))
    assert len(notes) == 1
    assert [found.mixer for found in counter.found()] == ["a", ""]


def test_counts_continue_from_what_the_summary_held() -> None:
    earlier = PassedOver("a", "", 4, True, "KeyError: 1")
    counter = PassedOverCounter()
    damaged = [7, {}, {**earlier.to_data(), "candidates": "4"}, {**earlier.to_data(), "more": 1}]
    counter.resume([earlier.to_data(), *damaged])
    counter.add(Problem("stages[0].mixer", "KeyError: 1", mixer="a", is_fault=True))
    (found,) = counter.found()
    assert (found.candidates, found.is_fault) == (5, True)
