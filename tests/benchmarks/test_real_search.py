"""What is told of searches against random search."""

from __future__ import annotations

from typing import Any

from real_search import METHODS, summary


def curve(*accuracies: float) -> list[dict[str, Any]]:
    """Trainings of ten seconds each, whose best scores the same on the test split."""
    best = [max(accuracies[: number + 1]) for number in range(len(accuracies))]
    return [
        {
            "seconds": 10.0 * (number + 1),
            "accuracy": accuracy,
            "validation_accuracy": best[number],
            "test_accuracy": best[number],
            "rejected": number // 2,
        }
        for number, accuracy in enumerate(accuracies)
    ]


def run(method: str, seed: int, *accuracies: float) -> dict[str, Any]:
    return {"method": method, "seed": seed, "curve": curve(*accuracies)}


BASELINE, SEARCH, INHERITING = METHODS
SEED_0 = [
    run(BASELINE, 0, 0.2, 0.5, 0.3, 0.4),
    run(SEARCH, 0, 0.4, 0.5, 0.6, 0.7),
    run(INHERITING, 0, 0.1, 0.2, 0.3, 0.4),
]


def test_it_tells_when_each_method_reaches_what_random_search_ends_with() -> None:
    found = summary(SEED_0, list(METHODS))
    assert found[BASELINE]["test_accuracy"]["trainings_to_random"] == [2]
    assert found[SEARCH]["test_accuracy"] == {
        "final": [0.7],
        "mean": 0.7,
        "trainings_to_random": [2],
        "seconds_to_random": [20.0],
    }
    assert found[INHERITING]["validation_accuracy"]["trainings_to_random"] == [None]
    assert found[INHERITING]["validation_accuracy"]["seconds_to_random"] == [None]
    assert found[SEARCH]["mean_of_second_half"] == [0.65]
    assert found[SEARCH]["rejected"] == [1]


def test_a_seed_that_one_method_lacks_does_not_count() -> None:
    found = summary([*SEED_0, run(BASELINE, 1, 0.9, 0.9), run(SEARCH, 1, 0.1, 0.1)], list(METHODS))
    assert found["seeds"] == 1
    assert found[SEARCH]["test_accuracy"]["final"] == [0.7]


def test_only_the_methods_that_were_asked_for_need_to_have_run() -> None:
    found = summary(SEED_0[:2], [BASELINE, SEARCH])
    assert found["seeds"] == 1
    assert INHERITING not in found
    assert summary(SEED_0[:2], list(METHODS))["seeds"] == 0


def test_single_accuracies_that_were_not_kept_are_left_out() -> None:
    runs = [{**one, "curve": [dict(point) for point in one["curve"]]} for one in SEED_0]
    del runs[1]["curve"][3]["accuracy"]
    for point in runs[2]["curve"]:
        del point["accuracy"]
    found = summary(runs, list(METHODS))
    assert found[SEARCH]["mean_of_second_half"] == [0.6]
    assert found[INHERITING]["mean_of_second_half"] == [None]
