"""The legal values of one option of a mixer, and those worth searching."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

# What YAML, JSON and Optuna's journal keep as it is.
OptionValue: TypeAlias = bool | int | float | str | None


def _same_kind(value: OptionValue, like: OptionValue) -> bool:
    """Return whether `value` may stand for `like`: its type, or an integer for a float."""
    if isinstance(like, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(like)


@dataclass(frozen=True, init=False)
class Choice:
    """One of the values listed; `search` names those worth searching, all by default.

    Args:
        values: True, False, integers, finite floats, strings, None, or members of an `Enum` with
            such values, each of which stands for its value. No two may be equal, as 1 and True are.
        search: Some of the values.

    Raises:
        ValueError: A value is of another type, not finite, or equal to another one.
    """

    values: tuple[OptionValue, ...]
    search: tuple[OptionValue, ...]

    def __init__(
        self, *values: OptionValue | Enum, search: Sequence[OptionValue | Enum] | None = None
    ) -> None:
        if not values:
            raise ValueError("Choice: needs at least one value")
        plain = tuple(_plain(value) for value in values)
        _refuse_equal(plain)
        object.__setattr__(self, "values", plain)
        object.__setattr__(self, "search", plain)
        if search is not None:
            object.__setattr__(self, "search", _searched(self, search))

    def normalise(self, value: OptionValue | Enum) -> OptionValue:
        """The listed value that `value` stands for; ValueError if there is none."""
        plain: OptionValue = value.value if isinstance(value, Enum) else value
        for legal in self.values:
            if _same_kind(plain, legal) and plain == legal:
                return legal
        raise ValueError(f"got {value!r}; allowed: {self.describe()}")

    def describe(self) -> str:
        return ", ".join(_as_yaml(value) for value in self.values)

    def search_domain(self) -> Domain:
        return Choice(*self.search)


def _as_yaml(value: OptionValue) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(value: object) -> OptionValue:
    """The value itself, or that of a member of an Enum; ValueError for what no file keeps."""
    plain = value.value if isinstance(value, Enum) else value
    if plain is not None and type(plain) not in (bool, int, float, str):
        of = f", the value of {value}," if isinstance(value, Enum) else ""
        raise ValueError(
            f"Choice: got {plain!r}{of} of type {type(plain).__name__}; allowed: True, False, "
            "integers, floats, strings, None, and members of an Enum with such values, since these "
            "survive YAML and JSON; name each alternative by a string and look it up"
        )
    if isinstance(plain, float) and not math.isfinite(plain):
        raise ValueError(f"Choice: got {plain!r}; allowed: finite numbers")
    return plain  # type: ignore[return-value]  # one of the types above


def _refuse_equal(values: tuple[OptionValue, ...]) -> None:
    """ValueError if two of the values are equal: Optuna and YAML could not tell them apart."""
    for index, value in enumerate(values):
        for earlier in values[:index]:
            if value == earlier:
                same = "is listed twice" if value is earlier else f"equals {earlier!r}"
                raise ValueError(f"Choice: {value!r} {same}; allowed: values that differ")


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

    def normalise(self, value: OptionValue | Enum) -> int:
        """`value` itself; ValueError if it is no integer of the range."""
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

    def normalise(self, value: OptionValue | Enum) -> float:
        """`value` as a float; ValueError if it lies outside."""
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


def _searched(domain: Domain, search: Sequence[OptionValue | Enum]) -> tuple[OptionValue, ...]:
    """The values worth searching, checked to be legal ones and no two the same."""
    if not search:
        raise ValueError(f"{type(domain).__name__}: search names no value")
    values = tuple(domain.normalise(value) for value in search)
    _refuse_equal(values)
    return values
