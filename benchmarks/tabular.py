"""The search against Optuna's samplers on tabular benchmarks, under a budget of latency.

    pip install "metaformer-search[benchmarks]"
    python benchmarks/tabular.py --seeds 30 --out benchmarks/results/tabular.jsonl
    python benchmarks/tabular.py --summary benchmarks/results/tabular.jsonl

Each line of the file is one run: cell, method, seed, the accuracies in the order of training (null
where the network misses the budget), how many proposals or measurements it took. What the file
holds already is not run again, so that a run that was ended continues.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from provenance import provenance
from tabular_baselines import MAX_PROPOSALS, SAMPLERS, Searched, run_baseline
from tabular_summary import print_summary, summarise
from tabular_tables import Cell, Trained, cells

import search

NUM_TRAININGS = 60
FIRST_SEED = 1000  # those below served development
OURS = "ours"
METHODS = (OURS, *(f"{name}{suffix}" for name in SAMPLERS for suffix in ("", "+reject")))


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    if arguments.summary is None:
        run_all(arguments)
    path = arguments.summary or arguments.out
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    runs = [line for line in lines if "provenance" not in line]
    print_summary(summarise(runs, cells_by_name(), OURS))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--processes", type=int, default=1, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("tabular.jsonl"))
    parser.add_argument("--summary", type=Path, help="run nothing, read this file")
    return parser.parse_args()


def run_all(arguments: argparse.Namespace) -> None:
    done = set()
    if arguments.out.exists():
        for line in arguments.out.read_text().splitlines():
            run = json.loads(line)
            done.add((run.get("cell"), run.get("method"), run.get("seed")))
    todo = [
        (cell.name, method, seed)
        for seed in range(FIRST_SEED, FIRST_SEED + arguments.seeds)
        for cell in cells()
        for method in arguments.methods
        if (cell.name, method, seed) not in done
    ]
    with (
        arguments.out.open("a") as file,
        ProcessPoolExecutor(
            arguments.processes, initializer=torch.set_num_threads, initargs=(1,)
        ) as pool,
    ):
        file.write(json.dumps({"provenance": provenance()}) + "\n")
        for number, run in enumerate(pool.map(run_one, todo), start=1):
            file.write(json.dumps(run) + "\n")
            file.flush()
            print(f"{number} of {len(todo)} runs", end="\r", flush=True)


@functools.cache
def cells_by_name() -> dict[str, Cell]:
    return {cell.name: cell for cell in cells()}


def run_one(task: tuple[str, str, int]) -> dict[str, Any]:
    cell_name, method, seed = task
    cell = cells_by_name()[cell_name]
    start = time.monotonic()
    if method == OURS:
        trained, num_proposals = run_ours(cell, seed)
    else:
        sampler, _, suffix = method.partition("+")
        trained, num_proposals = run_baseline(
            cell, sampler, seed, reject=bool(suffix), num_trainings=NUM_TRAININGS
        )
    accuracies = [round(item.accuracy, 6) if item.feasible else None for item in trained]
    return {
        "cell": cell.name,
        "method": method,
        "seed": seed,
        "accuracies": accuracies,
        "proposals": num_proposals,
        "seconds": round(time.monotonic() - start, 2),
    }


def run_ours(cell: Searched, seed: int) -> tuple[list[Trained], int]:
    """As many measurements at the most as the baselines have proposals."""
    history = search.optimize(
        cell.space,
        cell.accuracy,
        measure=lambda params: {"latency": cell.latency(params)},
        constraints={"latency": search.AtMost(cell.budget)},
        num_evaluations=NUM_TRAININGS,
        max_measurements=MAX_PROPOSALS,
        seed=seed,
    )
    trained = [
        Trained(candidate.score, feasible=candidate.feasible is True)
        for candidate in history.evaluated
    ]
    return trained, history.num_measurements


if __name__ == "__main__":
    main()
