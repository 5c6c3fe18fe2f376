"""The search over any space: its caps, what it never does twice, and what it ends with."""

from __future__ import annotations

import math
from typing import Any

import optuna
import pytest
from optuna.trial import BaseTrial

import search
from search.history import Outcome
from search.proposals.parameters import key_of

SPACE = {f"x{index}": [0, 1, 2, 3] for index in range(6)}


def total(params: dict[str, Any]) -> float:
    return float(sum(params.values()))


def seconds(params: dict[str, Any]) -> dict[str, float]:
    return {"seconds": 1 + total(params)}


def test_finds_the_best_that_keeps_its_limit() -> None:
    history = search.optimize(
        SPACE,
        lambda params: total(params) + params["x0"],
        measure=seconds,
        constraints={"seconds": search.AtMost(10)},
        num_evaluations=20,
        max_measurements=100,
    )
    assert history.best is not None
    assert history.best.score == 12  # x0 at 3, a sum of 9
    assert history.best.confirmed
    assert 0 < history.prediction_errors["seconds"] < 0.5  # relative


def test_few_measurements_are_spent_on_looking_first() -> None:
    for most in range(1, 6):
        history = search.optimize(
            SPACE,
            total,
            measure=seconds,
            constraints={"seconds": search.AtMost(100)},
            num_evaluations=5,
            max_measurements=most,
        )
        assert len(history.evaluated) == most - min(3, most // 2)
        assert history.num_measurements <= most


def test_at_least_is_the_same_limit_from_the_other_side() -> None:
    history = search.optimize(
        SPACE,
        lambda params: -total(params),
        measure=seconds,
        constraints={"seconds": search.AtLeast(16)},
        num_evaluations=15,
        max_measurements=60,
    )
    assert history.best is not None
    assert history.best.score == -15


def test_nothing_that_misses_is_evaluated_and_nothing_is_looked_at_twice() -> None:
    measured: list[str] = []
    evaluated: list[str] = []

    def measure(params: dict[str, Any]) -> dict[str, float]:
        measured.append(key_of(params))
        return seconds(params)

    def evaluate(params: dict[str, Any]) -> float:
        evaluated.append(key_of(params))
        assert seconds(params)["seconds"] <= 8
        return total(params)

    history = search.optimize(
        SPACE,
        evaluate,
        measure=measure,
        constraints={"seconds": search.AtMost(8)},
        num_evaluations=15,
        max_measurements=60,
    )
    assert len(evaluated) == len(set(evaluated)) == 15
    finalists = [key_of(candidate.params) for candidate in history.ranking[:3]]
    assert sorted(measured) == sorted([*set(measured), *finalists])
    assert len(measured) == history.num_measurements <= 60


def test_ends_within_its_caps_where_nothing_is_feasible() -> None:
    history = search.optimize(
        SPACE,
        total,
        measure=seconds,
        constraints={"seconds": search.AtMost(0)},
        num_evaluations=10,
        max_measurements=12,
    )
    assert history.outcome is Outcome.MEASUREMENTS_SPENT
    assert history.best is None
    assert history.evaluated == []
    assert history.num_measurements <= 12


def test_ends_where_the_whole_space_is_known() -> None:
    history = search.optimize({"a": [1, 2], "b": ["x", "y", "z"]}, total_of_a, num_evaluations=20)
    assert history.outcome is Outcome.SPACE_EXHAUSTED
    assert len(history.evaluated) == 6


def total_of_a(params: dict[str, Any]) -> float:
    return float(params["a"])


def conditional(trial: BaseTrial) -> None:
    if trial.suggest_categorical("kind", ["smooth", "layers"]) == "smooth":
        trial.suggest_float("rate", 1e-4, 1.0, log=True)
        return
    depth = trial.suggest_int("depth", 1, 5)
    if depth == 5:
        raise optuna.TrialPruned
    for layer in range(depth):
        trial.suggest_categorical(f"width{layer}", [16, 32, 64])


def test_parameters_may_depend_on_each_other_and_be_ruled_out() -> None:
    def evaluate(params: dict[str, Any]) -> float:
        assert params.get("depth") != 5
        assert ("rate" in params) == (params["kind"] == "smooth")
        return -((math.log10(params["rate"]) + 2) ** 2) if "rate" in params else -3.0

    history = search.optimize(conditional, evaluate, num_evaluations=30)
    assert history.best is not None
    assert history.best.params["rate"] == pytest.approx(0.01, rel=0.5)


def test_a_finalist_that_misses_when_measured_again_is_not_the_best() -> None:
    seen: set[str] = set()

    def measure(params: dict[str, Any]) -> dict[str, float]:
        lucky = params["a"] == 9 and key_of(params) not in seen
        seen.add(key_of(params))
        return {"seconds": 1.0 if params["a"] < 9 or lucky else 2.0}

    history = search.optimize(
        {"a": list(range(10))},
        total_of_a,
        measure=measure,
        constraints={"seconds": search.AtMost(1)},
        num_evaluations=10,
        max_measurements=20,
    )
    assert history.best is not None
    assert history.best.params == {"a": 8}


def test_what_diverged_is_never_the_best() -> None:
    history = search.optimize(
        {"a": list(range(10))},
        lambda params: math.nan if params["a"] == 9 else params["a"],
        num_evaluations=10,
    )
    assert history.best is not None
    assert history.best.score == 8


def test_the_same_seed_gives_the_same_search() -> None:
    def run(seed: int) -> list[dict[str, Any]]:
        history = search.optimize(
            SPACE,
            total,
            measure=seconds,
            constraints={"seconds": search.AtMost(9)},
            num_evaluations=12,
            max_measurements=40,
            seed=seed,
        )
        return [candidate.params for candidate in history.candidates]

    assert run(3) == run(3)
    assert run(3) != run(4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"num_evaluations": -1}, "0 or more"),
        ({"num_evaluations": 1, "constraints": {"t": search.AtMost(1)}}, "measure is missing"),
    ],
)
def test_what_cannot_be_searched_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        search.optimize(SPACE, total, **arguments)


def test_a_quantity_that_is_not_measured_is_named() -> None:
    with pytest.raises(ValueError, match="missing: memory"):
        search.optimize(
            SPACE,
            total,
            measure=seconds,
            constraints={"memory": search.AtMost(1)},
            num_evaluations=1,
            max_measurements=9,
        )
