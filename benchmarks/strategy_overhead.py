"""Seconds that the strategy itself takes for a trial, as a study grows.

    python benchmarks/strategy_overhead.py --trials 1000 --out FILE

Measuring and evaluating take no time here: what is left is the choice of candidates. A trial is
an evaluation and the measurements before it. Shown is the mean and the longest of the last tenth
of the trials up to each size.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from provenance import provenance

import search

SPACE: dict[str, list[Any]] = {
    **{f"stage{i}.mixer": ["attention", "conv", "identity", "pooling"] for i in range(4)},
    **{f"stage{i}.depth": [2, 3, 4, 6] for i in range(4)},
    **{f"stage{i}.ratio": [2.0, 3.0, 4.0] for i in range(4)},
}
COSTS = {"attention": 3.0, "conv": 2.0, "identity": 1.0, "pooling": 1.2}
MOMENTS = (10, 100, 1000, 10_000)


def seconds_per_image(params: dict[str, Any]) -> float:
    stages = range(4)
    return sum(
        params[f"stage{i}.depth"] * (COSTS[params[f"stage{i}.mixer"]] + params[f"stage{i}.ratio"])
        for i in stages
    )


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    ends: list[float] = [time.perf_counter()]

    def evaluate(params: dict[str, Any]) -> float:
        ends.append(time.perf_counter())
        return seconds_per_image(params) ** 0.5 + 0.1 * len(set(params.values()))

    search.optimize(
        SPACE,
        evaluate,
        measure=lambda params: {"seconds_per_image": seconds_per_image(params)},
        constraints={"seconds_per_image": search.AtMost(60.0)},
        num_evaluations=arguments.trials,
        max_measurements=4 * arguments.trials,
    )
    seconds = np.diff(ends)
    rows = []
    for moment in (m for m in MOMENTS if m <= len(seconds)):
        last = seconds[moment - max(moment // 10, 1) : moment]
        rows.append(
            {
                "trials": moment,
                "mean_seconds": round(float(last.mean()), 4),
                "longest_seconds": round(float(last.max()), 4),
            }
        )
        print(*rows[-1].values(), flush=True)
    if arguments.out is not None:
        result = {"provenance": provenance(), "rows": rows}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
