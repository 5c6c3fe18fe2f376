"""Candidates as rows of numbers, whose squared distances a kernel weights by parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution

from search.bayesopt.define_by_run import is_continuous, is_ordered, position
from search.bayesopt.gaussian_process import Array

HALF_ROOT = float(np.sqrt(0.5))  # two one-hot rows of it lie at a squared distance of 1


class Features:
    """Rows in which two different choices lie 1 apart, and the two ends of a range too.

    A parameter that a candidate does not have is one more choice; that of a range lies 1 from the
    middle and further from the ends. Parameters that share a distribution, as those of stages do,
    add a family: the sum of their columns, so that how often a choice occurs is seen wherever it
    stands. Continuous ones add none: that several lie between 0 and 1 says nothing about them.
    `groups` says which parameter or family each column belongs to.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        self._distributions = dict(distributions)
        self._ordered = {name for name, d in distributions.items() if is_ordered(d)}
        self._starts: dict[str, int] = {}
        groups: list[int] = []
        for index, name in enumerate(distributions):
            self._starts[name] = len(groups)
            groups += [index] * self._width(name)
        self.num_parameters = len(distributions)
        self._families = [self._columns(family) for family in self._find_families()]
        for index, columns in enumerate(self._families):
            groups += [self.num_parameters + index] * columns.shape[1]
        self.groups = np.array(groups, dtype=np.intp)
        self.num_groups = self.num_parameters + len(self._families)

    def rows(self, candidates: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """One row a candidate."""
        rows = np.zeros((len(candidates), len(self.groups)))
        for row, params in zip(rows, candidates, strict=True):
            for name, start in self._starts.items():
                distribution = self._distributions[name]
                if name in self._ordered:
                    if name in params:
                        row[start] = position(distribution, params[name])
                    else:
                        row[start], row[start + 1] = 0.5, 1.0
                elif name in params:
                    row[start + int(distribution.to_internal_repr(params[name]))] = HALF_ROOT
                else:
                    row[start + self._width(name) - 1] = HALF_ROOT
        for index, columns in enumerate(self._families):
            sums = rows[:, columns].sum(axis=1) / np.sqrt(len(columns))
            rows[:, self.groups == self.num_parameters + index] = sums
        return rows

    def _width(self, name: str) -> int:
        distribution = self._distributions[name]
        if name in self._ordered:
            return 2
        assert isinstance(distribution, CategoricalDistribution)
        return len(distribution.choices) + 1

    def _find_families(self) -> list[list[str]]:
        families: list[list[str]] = []
        for name, distribution in self._distributions.items():
            if distribution.single() or is_continuous(distribution):
                continue
            for family in families:
                if self._distributions[family[0]] == distribution:
                    family.append(name)
                    break
            else:
                families.append([name])
        return [family for family in families if len(family) > 1]

    def _columns(self, family: Sequence[str]) -> NDArray[np.intp]:
        """The columns of each member, a row each."""
        return np.array(
            [self._starts[name] + np.arange(self._width(name)) for name in family], dtype=np.intp
        )


class HasParams(Protocol):
    """Candidates by their values alone."""

    @property
    def params(self) -> Sequence[Mapping[str, Any]]: ...


@dataclass(frozen=True)
class EncodedCandidates:
    """Candidates by their values, and as rows of numbers by `features`, in the same order."""

    params: Sequence[Mapping[str, Any]]
    features: Features
    rows: Array
