"""Limits on quantities, and by how much a value misses one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import TypeAlias


@dataclass(frozen=True)
class AtMost:
    """The quantity may not exceed `limit`."""

    limit: float

    def __post_init__(self) -> None:
        _refuse_not_finite(self)

    def excess(self, value: float) -> float:
        """Return how far `value` lies above the limit, in the quantity's unit; 0 or less meets
        it."""
        return value - self.limit


@dataclass(frozen=True)
class AtLeast:
    """The quantity may not fall below `limit`."""

    limit: float

    def __post_init__(self) -> None:
        _refuse_not_finite(self)

    def excess(self, value: float) -> float:
        """Return how far `value` lies below the limit, in the quantity's unit; 0 or less meets
        it."""
        return self.limit - value


Limit: TypeAlias = AtMost | AtLeast


def _refuse_not_finite(limit: Limit) -> None:
    if not isinstance(limit.limit, Real) or not math.isfinite(limit.limit):
        raise ValueError(f"{type(limit).__name__}: got {limit.limit!r}; allowed: a finite number")
