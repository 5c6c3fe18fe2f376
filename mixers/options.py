"""The legal values of one option of a mixer, and those worth searching."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

OptionValue: TypeAlias = bool | int | float | str


def _same_kind(value: OptionValue, like: OptionValue) -> bool:
    """Whether `value` may stand for `like`: its type, or an integer for a float."""
    if isinstance(like, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(like)


@dataclass(frozen=True, init=False)
class Choice:
    """One of the values listed; `search` names those worth searching, all by default."""

    values: tuple[OptionValue, ...]
    search: tuple[OptionValue, ...]

    def __init__(self, *values: OptionValue, search: tuple[OptionValue, ...] | None = None) -> None:
        if not values:
            raise ValueError("Choice: needs at least one value")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "search", values)
        if search is not None:
            object.__setattr__(self, "search", _searched(self, search))

    def normalise(self, value: OptionValue) -> OptionValue:
        """The listed value that `value` stands for; ValueError where there is none."""
        for legal in self.values:
            if _same_kind(value, legal) and value == legal:
                return legal
        raise ValueError(f"got {value!r}; allowed: {self.describe()}")

    def describe(self) -> str:
        return ", ".join(
            str(value).lower() if isinstance(value, bool) else str(value) for value in self.values
        )

    def search_domain(self) -> Domain:
        return Choice(*self.search)


@dataclass(frozen=True)
class IntRange:
    """Integers from `low` to `high`, both included, in steps of `step`.

    `log` says that ratios matter rather than differences. `search` names the values worth
    searching, all by default.
    """

    low: int
    high: int
    step: int = 1
    log: bool = False
    search: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.low > self.high or self.step < 1:
            raise ValueError(f"IntRange: got {self.low} to {self.high} in steps of {self.step}")
        if self.log and (self.low < 1 or self.step != 1):
            raise ValueError("IntRange: log needs low of 1 or more and steps of 1")
        if self.search is not None:
            _searched(self, self.search)

    def normalise(self, value: OptionValue) -> int:
        """`value` itself; ValueError where it is no integer of the range."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"got {value!r}; allowed: {self.describe()}")
        if not self.low <= value <= self.high or (value - self.low) % self.step:
            raise ValueError(f"got {value!r}; allowed: {self.describe()}")
        return value

    def describe(self) -> str:
        steps = f" in steps of {self.step}" if self.step > 1 else ""
        return f"integers from {self.low} to {self.high}{steps}"

    def search_domain(self) -> Domain:
        return Choice(*self.search) if self.search is not None else self


@dataclass(frozen=True)
class FloatRange:
    """Finite numbers from `low` to `high`, both included; with `step`, on that grid.

    `log` says that ratios matter rather than differences. `search` names the values worth
    searching, the whole range by default.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False
    search: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.low > self.high:
            raise ValueError(f"FloatRange: got {self.low} to {self.high}")
        if self.step is not None and self.step <= 0:
            raise ValueError(f"FloatRange: got steps of {self.step}; allowed: above 0")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("FloatRange: log needs low above 0 and no step")
        if self.search is not None:
            _searched(self, self.search)

    def normalise(self, value: OptionValue) -> float:
        """`value` as a float; ValueError where it lies outside."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"got {value!r}; allowed: {self.describe()}")
        number = float(value)
        if not self.low <= number <= self.high:  # also false for nan
            raise ValueError(f"got {value!r}; allowed: {self.describe()}")
        if self.step is not None:
            steps = (number - self.low) / self.step
            if abs(steps - round(steps)) > 1e-6:
                raise ValueError(f"got {value!r}; allowed: {self.describe()}")
        return number

    def describe(self) -> str:
        steps = f" in steps of {self.step:g}" if self.step is not None else ""
        return f"numbers from {self.low:g} to {self.high:g}{steps}"

    def search_domain(self) -> Domain:
        return Choice(*self.search) if self.search is not None else self


Domain: TypeAlias = Choice | IntRange | FloatRange


def _searched(domain: Domain, search: tuple[OptionValue, ...]) -> tuple[OptionValue, ...]:
    """The values worth searching, checked to be legal ones."""
    if not search:
        raise ValueError(f"{type(domain).__name__}: search names no value")
    return tuple(domain.normalise(value) for value in search)
