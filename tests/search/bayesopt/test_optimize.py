"""The search over any space: its caps, what it never does twice, and what it ends with."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import BaseTrial

import search
from search.bayesopt.define_by_run import key_of
from search.bayesopt.history import Outcome

SPACE = {f"x{index}": [0, 1, 2, 3] for index in range(6)}


AT_MOST_9 = search.AtMost(9)


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
        ({"num_evaluations": -1}, "1 or more"),
        ({"num_evaluations": 0}, "num_evaluations: got 0; allowed: an integer of 1 or more"),
        ({"num_evaluations": 2.5}, "num_evaluations: got 2.5; allowed: an integer"),
        ({"num_evaluations": "5"}, "num_evaluations: got '5'; allowed: an integer"),
        ({"num_evaluations": 1, "constraints": {"t": search.AtMost(1)}}, "measure is missing"),
        ({"num_evaluations": 1, "constraints": {"t": 10.0}}, r"got 10.0; allowed: AtMost\(10.0\)"),
        ({"num_evaluations": 1, "constraints": [search.AtMost(1)]}, "constraints: got "),
        (
            {
                "num_evaluations": 1,
                "constraints": {"seconds": AT_MOST_9},
                "measure": seconds,
                "max_measurements": 0,
            },
            "max_measurements: got 0; allowed: 1 or more",
        ),
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


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1, 9), (-3, 2.5)])
def test_two_ascending_numbers_may_be_choices_or_a_range_and_are_refused(ends: Any) -> None:
    with pytest.raises(ValueError, match=r"two choices or the ends of a range; allowed: \["):
        search.optimize({"x": ends}, lambda _params: 1.0, num_evaluations=1)


@pytest.mark.parametrize("choices", [[0.0, 1.0], (9, 1), (True, False), (1, 2, 3), ("a", "b")])
def test_other_sequences_are_choices(choices: Any) -> None:
    found = search.optimize({"x": choices}, lambda params: float(len(params)), num_evaluations=9)
    assert {one.params["x"] for one in found.evaluated} == set(choices)


def test_without_a_number_of_measurements_there_are_four_for_an_evaluation() -> None:
    limits = {"seconds": search.AtMost(-1)}  # which nothing meets
    found = search.optimize(SPACE, total, measure=seconds, constraints=limits, num_evaluations=3)
    assert found.num_measurements <= 12
    assert not found.evaluated


@pytest.mark.parametrize("space", [{}, [1, 2], None])
def test_a_space_without_parameters_is_refused(space: Any) -> None:
    with pytest.raises(ValueError, match="space: got "):
        search.optimize(space, total, num_evaluations=1)


@pytest.mark.parametrize("limit", ["5", None, math.nan])
def test_a_limit_is_a_finite_number(limit: Any) -> None:
    with pytest.raises(ValueError, match="allowed: a finite number"):
        search.AtMost(limit)


@pytest.mark.parametrize("score", [None, "0.5", math.inf, [1, 2]])
def test_a_score_is_a_number(score: Any) -> None:
    with pytest.raises(ValueError, match=r"evaluate\(.*\): .*got .*; allowed: a num"):
        search.optimize(SPACE, lambda _params: score, num_evaluations=1)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (1.0, "got 1.0; allowed: quantities by name"),
        ({"secnds": 1.0}, "missing: seconds; did you mean secnds?"),
        ({"seconds": "1"}, "got '1'; allowed: a number"),
    ],
)
def test_a_measurement_gives_what_is_limited_by_name(answer: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        search.optimize(
            SPACE,
            total,
            measure=lambda _params: answer,
            constraints={"seconds": AT_MOST_9},
            num_evaluations=1,
            max_measurements=4,
        )


def test_numbers_of_numpy_and_torch_are_numbers_and_other_quantities_may_be_anything() -> None:
    history = search.optimize(
        SPACE,
        lambda params: torch.tensor(total(params)),  # type: ignore[arg-type, return-value]
        measure=lambda params: {"seconds": np.float32(total(params)), "device": "cpu"},  # type: ignore[dict-item]
        constraints={"seconds": AT_MOST_9},
        num_evaluations=3,
        max_measurements=20,
    )
    assert all(type(candidate.score) is float for candidate in history.evaluated)


@pytest.mark.parametrize("score", [math.nan, -math.inf])
def test_what_has_no_score_has_diverged(score: float) -> None:
    history = search.optimize(
        {"a": list(range(10))},
        lambda params: score if params["a"] == 9 else params["a"],
        num_evaluations=10,
    )
    assert math.isnan(next(c.score for c in history.evaluated if c.params["a"] == 9) or 0.0)
    assert history.best is not None
    assert history.best.score == 8


def test_choices_that_change_are_refused_by_name() -> None:
    def space(trial: BaseTrial) -> None:
        number = trial.suggest_int("number", 1, 3)
        trial.suggest_categorical("letter", ["a", "b", "c"][:number])

    with pytest.raises(ValueError, match="space: letter: got other choices than before"):
        search.optimize(space, lambda _params: 0.0, num_evaluations=9)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_cannot_be_measured_teaches_to_keep_away_from_its_like(bad: float) -> None:
    letters = "abcde"
    space = {f"x{index}": list(letters) for index in range(6)}

    def score(params: dict[str, Any]) -> float:
        return float(sum(letters.index(value) for value in params.values()))

    def measure(params: dict[str, Any]) -> dict[str, float]:
        broken = any(value in "de" for value in params.values())  # of all, 95 %
        return {"seconds": bad if broken else 1 + score(params)}

    history = search.optimize(
        space,
        score,
        measure=measure,
        constraints={"seconds": search.AtMost(9)},
        num_evaluations=20,
        max_measurements=300,
    )
    assert len(history.evaluated) == 20
    assert history.num_measurements < 150
    assert history.best is not None
    assert history.best.score == 8


def test_few_legal_candidates_are_found_from_each_other() -> None:
    def space(trial: BaseTrial) -> None:
        if sum(trial.suggest_int(name, 0, 9) for name in "abcde") < 44:  # 6 of 100,000
            raise optuna.TrialPruned

    history = search.optimize(space, total, num_evaluations=10)
    assert history.outcome is Outcome.SPACE_EXHAUSTED
    assert len(history.evaluated) == 6


def test_an_error_brings_the_history_so_far() -> None:
    def evaluate(params: dict[str, Any]) -> float:
        if len(seen) == 3:
            raise KeyError("of a user's own")
        seen.append(params)
        return total(params)

    seen: list[dict[str, Any]] = []
    with pytest.raises(search.EvaluationFailed, match="3 candidates are scored") as raised:
        search.optimize(SPACE, evaluate, num_evaluations=9)
    assert [c.params for c in raised.value.history.evaluated] == seen
    assert isinstance(raised.value.__cause__, KeyError)
    assert raised.value.params not in seen


def test_pruned_says_diverged_of_a_score_and_infeasible_of_a_measurement() -> None:
    def evaluate(params: dict[str, Any]) -> float:
        if params["x0"] == 3:
            raise optuna.TrialPruned
        return total(params)

    def measure(params: dict[str, Any]) -> dict[str, float]:
        if params["x1"] == 3:
            raise optuna.TrialPruned
        return seconds(params)

    history = search.optimize(
        SPACE,
        evaluate,
        measure=measure,
        constraints={"seconds": search.AtMost(30)},
        num_evaluations=20,
        max_measurements=60,
    )
    assert all(c.params["x1"] != 3 for c in history.evaluated)
    assert any(math.isnan(c.score or 0.0) for c in history.evaluated)
    assert history.best is not None
    assert history.best.params["x0"] < 3


def test_a_user_may_do_to_the_values_what_they_like() -> None:
    def evaluate(params: dict[str, Any]) -> float:
        params["sizes"].append(1)
        return float(len(params["sizes"]))

    history = search.optimize({"sizes": [[1], [1, 2], [1, 2, 3]]}, evaluate, num_evaluations=3)
    assert sorted(len(c.params["sizes"]) for c in history.evaluated) == [1, 2, 3]
