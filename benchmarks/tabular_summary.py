"""What the runs of `tabular.py` show: accuracies, ranks, regret, and paired intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, t
from tabular_tables import Cell

CHECKPOINTS = (10, 25, 40, 60)
REGRET_AT = 25


def curve(accuracies: Sequence[float | None], length: int = 60) -> NDArray[np.float64]:
    """The best feasible accuracy after 1, 2, … trainings; -inf before the first feasible one.

    A run that ended early keeps what it had.
    """
    values = [-np.inf if value is None else value for value in accuracies]
    values += [-np.inf] * (length - len(values))
    return np.maximum.accumulate(np.array(values, dtype=np.float64))


def normalised_regret(best: NDArray[np.float64], cell: Cell) -> NDArray[np.float64]:
    """0 at the best feasible network, 1 at the median of the feasible ones and below it."""
    feasible = cell.feasible_accuracies
    span = feasible.max() - np.median(feasible)
    regret: NDArray[np.float64] = np.clip((feasible.max() - best) / span, 0, 1)
    return regret


def summarise(runs: list[dict[str, Any]], cells: Mapping[str, Cell], ours: str) -> dict[str, Any]:
    """Means over the seeds that every method has run, by cell and pooled."""
    curves: dict[str, dict[str, dict[int, NDArray[np.float64]]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for run in runs:
        curves[run["cell"]][run["method"]][run["seed"]] = curve(run["accuracies"])
    methods = sorted({run["method"] for run in runs}, key=lambda name: (name != ours, name))
    by_cell, regrets, ranks = {}, defaultdict(list), defaultdict(list)
    for name, of_cell in curves.items():
        shared = sorted(set.intersection(*(set(of_cell[method]) for method in methods)))
        if not shared:
            continue
        table = {m: np.array([of_cell[m][seed] for seed in shared]) for m in methods}
        regret = {m: normalised_regret(table[m], cells[name]) for m in methods}
        final = np.array([floored(table[m][:, -1], cells[name]) for m in methods])
        for method, of_method in zip(methods, rankdata(-final, axis=0), strict=True):
            ranks[method].extend(of_method)
            regrets[method].append(regret[method].mean(axis=0))
        by_cell[name] = cell_summary(dict(zip(methods, final, strict=True)), cells[name], ours)
        by_cell[name]["seeds"] = len(shared)
    pooled = {m: np.mean(regrets[m], axis=0) for m in methods}
    return {
        "cells": by_cell,
        "mean_rank": {m: float(np.mean(ranks[m])) for m in methods},
        "regret": {m: {str(n): float(pooled[m][n - 1]) for n in CHECKPOINTS} for m in methods},
        "regret_curve": {m: [round(float(v), 4) for v in pooled[m]] for m in methods},
    }


def floored(best: NDArray[np.float64], cell: Cell) -> NDArray[np.float64]:
    """Nothing feasible found counts as the worst feasible network."""
    floor: NDArray[np.float64] = np.maximum(best, cell.feasible_accuracies.min())
    return floor


def cell_summary(final: dict[str, NDArray[np.float64]], cell: Cell, ours: str) -> dict[str, Any]:
    """Mean final accuracies; ours minus the best other with its paired 95 % interval (Student)."""
    means = {method: float(values.mean()) for method, values in final.items()}
    found: dict[str, Any] = {"optimum": float(cell.feasible_accuracies.max()), "mean": means}
    others = {method: mean for method, mean in means.items() if method != ours}
    if ours in final and others:
        best = max(others, key=others.__getitem__)
        difference = final[ours] - final[best]
        count = len(difference)
        half = 0.0
        if count > 1:
            half = float(t.ppf(0.975, count - 1) * difference.std(ddof=1) / np.sqrt(count))
        mean = float(difference.mean())
        found["best_other"] = best
        found["difference"] = {"mean": mean, "low": mean - half, "high": mean + half}
    return found


def print_summary(summary: dict[str, Any]) -> None:
    methods = list(summary["mean_rank"])
    print("| cell | seeds | optimum |", " | ".join(methods), "| ours - best other |")
    for name, cell in summary["cells"].items():
        means = " | ".join(f"{cell['mean'][method]:.2f}" for method in methods)
        difference = cell.get("difference")
        words = ""
        if difference is not None:
            words = "{mean:+.3f} [{low:+.3f}, {high:+.3f}]".format(**difference)
            words += f" {cell['best_other']}"
        print(f"| {name} | {cell['seeds']} | {cell['optimum']:.2f} | {means} | {words} |")
    ranks = " | ".join(f"{summary['mean_rank'][method]:.2f}" for method in methods)
    print(f"| mean rank | | | {ranks} | |")
    for count in CHECKPOINTS:
        regrets = " | ".join(f"{summary['regret'][method][str(count)]:.4f}" for method in methods)
        print(f"| normalised regret at {count} | | | {regrets} | |")
