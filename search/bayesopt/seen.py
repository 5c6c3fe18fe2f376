"""Candidates as models see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from search.bayesopt.encoding import Features
from search.bayesopt.gaussian_process import Array


class HasParams(Protocol):
    """Candidates by their values alone."""

    @property
    def params(self) -> Sequence[Mapping[str, Any]]: ...


@dataclass(frozen=True)
class Seen:
    """Candidates by their values, and as rows of numbers by `features`, in the same order."""

    params: Sequence[Mapping[str, Any]]
    features: Features
    rows: Array
