"""`search.optimize` against Optuna's samplers on spaces of other kinds than NAS-Bench-201.

    python benchmarks/other_spaces.py --seeds 6 --out FILE      # continues where it was ended

Spaces that the strategy was not built for, one limit each: continuous test functions in 2, 6 and 10
dimensions, 22 layers of 9 operators (as FBNet's space) with synthetic accuracy and latency, and
NAS-Bench-201 on a device where some networks do not run, their latency infinite. 60 trainings; ours
with 1,000 measurements at the most, samplers with rejection with 1,000 proposals.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from provenance import provenance
from tabular import NUM_TRAININGS, OURS, run_ours
from tabular_baselines import run_baseline
from tabular_tables import nas_bench_201

METHODS = (OURS, "random+reject", "tpe", "tpe+reject", "nsga2+reject")
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """`accuracy` is to be high where `latency`, above 0 or infinite, is at most `budget`."""

    space: dict[str, BaseDistribution]
    accuracy: Callable[[Params], float]
    latency: Callable[[Params], float]
    budget: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result: dict[str, Any] = {"provenance": provenance(), "runs": []}
    if arguments.out is not None and arguments.out.is_file():
        result["runs"] = json.loads(arguments.out.read_text())["runs"]
    done = {(run["problem"], run["method"], run["seed"]) for run in result["runs"]}
    for name in arguments.problems:
        for seed in range(2000, 2000 + arguments.seeds):
            for method in METHODS:
                if (name, method, seed) in done:
                    continue
                result["runs"].append(one_run(name, method, seed))
                result["summary"] = summary(result["runs"])
                if arguments.out is not None:
                    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
        print(name, json.dumps(summary(result["runs"]).get(name)), flush=True)


def one_run(name: str, method: str, seed: int) -> dict[str, Any]:
    problem = PROBLEMS[name]()
    start = time.monotonic()
    if method == OURS:
        trained, proposals = run_ours(problem, seed)
    else:
        sampler, _, suffix = method.partition("+")
        trained, proposals = run_baseline(
            problem, sampler, seed, reject=bool(suffix), num_trainings=NUM_TRAININGS
        )
    return {
        "problem": name,
        "method": method,
        "seed": seed,
        "best": max((item.accuracy for item in trained if item.feasible), default=None),
        "trained": len(trained),
        "proposals": proposals,
        "seconds": round(time.monotonic() - start, 1),
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """By problem and method the mean of the best over the seeds that all methods have, and the
    paired difference of ours to each other with its standard error."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(run["problem"] for run in runs):
        best = {(r["method"], r["seed"]): r["best"] for r in runs if r["problem"] == name}
        seeds = [seed for _, seed in best if all(best.get((m, seed)) is not None for m in METHODS)]
        seeds = sorted(set(seeds))
        if not seeds:
            continue
        found[name] = {"seeds": len(seeds)}
        for method in METHODS:
            ours = [best[OURS, seed] - best[method, seed] for seed in seeds]
            error = statistics.stdev(ours) / math.sqrt(len(ours)) if len(ours) > 1 else 0.0
            found[name][method] = {
                "mean": round(statistics.fmean(best[method, seed] for seed in seeds), 4),
                "ours_ahead_by": [round(statistics.fmean(ours), 4), round(error, 4)],
            }
    return found


def continuous(
    low: float, high: float, number: int, score: Callable[[Any], float], size: Any, budget: float
) -> Problem:
    """`size` of the point is what is limited."""
    names = [f"x{index}" for index in range(number)]

    def point(params: Params) -> Any:
        return np.array([params[name] for name in names])

    space: dict[str, BaseDistribution] = {name: FloatDistribution(low, high) for name in names}
    return Problem(space, lambda p: score(point(p)), lambda p: float(size(point(p))), budget)


def branin(x: Any) -> float:
    """Minus Branin's function; the highest is -0.398, at three points."""
    a, b = x
    valley = b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6
    return -float(valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10)


HARTMANN_SCALES = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14],
     [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)  # fmt: skip
HARTMANN_CENTRES = 1e-4 * np.array(
    [[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
     [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]]
)  # fmt: skip


def hartmann(x: Any) -> float:
    """Hartmann's function in six dimensions; the highest is 3.322."""
    heights = np.array([1, 1.2, 3, 3.2])
    return float(heights @ np.exp(-(HARTMANN_SCALES * (x - HARTMANN_CENTRES) ** 2).sum(1)))


def ackley(x: Any) -> float:
    """Minus Ackley's function; the highest is 0, at 0."""
    spread, waves = math.sqrt(np.mean(x**2)), float(np.mean(np.cos(2 * math.pi * x)))
    return 20 * math.exp(-0.2 * spread) + math.exp(waves) - 20 - math.e


def layers() -> Problem:
    """Layers whose gain depends on the operator, on the layer, and on the operator before."""
    number, operators = 22, 9
    random = np.random.default_rng(0)
    latency = random.lognormal(0.0, 0.7, operators) * random.lognormal(0.0, 0.3, (number, 1))
    gain = np.sqrt(latency) * random.normal(1.0, 0.5, (number, operators))
    pairs = random.normal(0.0, 0.4, (operators, operators))
    names = [f"layer{index}" for index in range(number)]
    choices = [f"operator{index}" for index in range(operators)]

    def chosen(params: Params) -> Any:
        return np.array([choices.index(params[name]) for name in names])

    def accuracy(params: Params) -> float:
        taken = chosen(params)
        total = gain[np.arange(number), taken].sum() + pairs[taken[:-1], taken[1:]].sum()
        return 80 - 30 * math.exp(-float(total) / 15)

    def seconds(params: Params) -> float:
        return float(latency[np.arange(number), chosen(params)].sum())

    drawn = random.integers(0, operators, (20_000, number))
    budget = float(np.quantile(latency[np.arange(number), drawn].sum(1), 0.1))
    space: dict[str, BaseDistribution] = {name: CategoricalDistribution(choices) for name in names}
    return Problem(space, accuracy, seconds, budget)


def not_all_run() -> Problem:
    """NAS-Bench-201, CIFAR-100: a network with a 3x3 convolution and less than two poolings does
    not run; of the rest the fastest third meets the budget."""
    table = nas_bench_201("cifar100")
    names = list(table.space)

    def row(params: Params) -> int:
        place = 0
        for name in names:
            place = place * len(table.space[name]) + table.space[name].index(params[name])
        return place

    def seconds(params: Params) -> float:
        operators = [str(params[name]) for name in names]
        convolved = any("conv_3x3" in operator for operator in operators)
        pooled = sum("pool" in operator for operator in operators)
        return math.inf if convolved and pooled < 2 else float(table.latencies[row(params)])

    budget = float(np.quantile(table.latencies, 0.3))
    space: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(choices) for name, choices in table.space.items()
    }
    return Problem(space, lambda p: float(table.accuracies[row(p)]), seconds, budget)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "branin": lambda: continuous(
        -5, 15, 2, branin, lambda x: (x[0] - 2.5) ** 2 + (x[1] - 7.5) ** 2, 50.0
    ),
    "hartmann": lambda: continuous(0, 1, 6, hartmann, lambda x: (x**2).sum(), 1.3),
    "ackley": lambda: continuous(-5, 10, 10, ackley, lambda x: math.sqrt((x**2).sum()), 12.0),
    "layers": layers,
    "not all run": not_all_run,
}


if __name__ == "__main__":
    main()
