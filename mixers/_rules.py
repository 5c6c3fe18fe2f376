"""The project's say over the options of one mixer: defaults, and domains worth searching."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mixers._signature import Option
from mixers.errors import PluginsFileError, nearest
from mixers.options import Choice, Domain, FloatRange, IntRange


@dataclass(frozen=True)
class MixerRules:
    """Rules in `[mixers.NAME]` of a `plugins.toml`; `place` names the line of one of its keys.

    `written` is the name as the file has it.
    """

    enabled: bool = True
    defaults: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    place: Callable[[str, str], str] = lambda table, key: f"{table}.{key}"
    written: str = ""

    def apply(self, options: Sequence[Option], *, mixer: str) -> tuple[Option, ...]:
        """The options under these rules; PluginsFileError if a rule does not fit them."""
        known = [option.name for option in options]
        for table, said in (("defaults", self.defaults), ("search", self.search)):
            for name in said:
                if name not in known:
                    takes = ", ".join(known) or "no options"
                    words = f"unknown option; {mixer} takes {takes}{nearest(name, known)}"
                    raise PluginsFileError(f"{self.place(table, name)}: {words}")
        return tuple(self._apply(option) for option in options)

    def _apply(self, option: Option) -> Option:
        table = "defaults"
        try:
            if option.name in self.defaults:
                default = option.domain.normalise(self.defaults[option.name])
                option = replace(option, default=default)
            table = "search"
            if option.name in self.search:
                option = replace(option, search=narrowed(option.domain, self.search[option.name]))
        except ValueError as error:
            raise PluginsFileError(f"{self.place(table, option.name)}: {error}") from None
        return option


def narrowed(domain: Domain, said: Any) -> Domain:
    """`domain` narrowed to a list of its values, or to `{low, high, step, log}` inside a range.

    ValueError, with what is allowed, if it is neither or holds what `domain` does not.
    """
    if isinstance(said, list) and said:
        return Choice(*(domain.normalise(value) for value in said))
    if isinstance(domain, Choice) or not isinstance(said, dict):
        ranges = "" if isinstance(domain, Choice) else ", or {low = ..., high = ...}"
        raise ValueError(f"got {said!r}; allowed: a list of one or more values{ranges}")
    keys = ("low", "high", "step", "log")
    for key in said:
        if key not in keys:
            raise ValueError(f"got {key}; allowed: {', '.join(keys)}{nearest(key, keys)}")
    for key in ("low", "high"):
        if isinstance(said.get(key, 0), bool) or not isinstance(said.get(key, 0), int | float):
            raise ValueError(f"{key}: got {said[key]!r}; allowed: {domain.describe()}")
    low, high = (domain.normalise(said.get(key, getattr(domain, key))) for key in ("low", "high"))
    if low > high:
        raise ValueError(f"got {low} to {high}; allowed: low up to high")
    log = said.get("log", domain.log)
    if not isinstance(log, bool):
        raise ValueError(f"log: got {log!r}; allowed: true, false")
    step = said.get("step", domain.step)
    whole = isinstance(domain, IntRange)
    if step is not None and (isinstance(step, bool) or not isinstance(step, int | float)):
        raise ValueError(f"step: got {step!r}; allowed: a number above 0")
    if step is not None and not _leads(step, low, high, domain.step, whole=whole):
        grid = f"multiples of {domain.step}" if domain.step else "steps above 0"
        raise ValueError(f"step: got {step!r}; allowed: {grid} that lead from {low} to {high}")
    if isinstance(domain, IntRange):
        return IntRange(int(low), int(high), int(step or 1), log)
    return FloatRange(low, high, None if step is None else float(step), log)


def _leads(step: float, low: float, high: float, grid: float | None, *, whole: bool) -> bool:
    """Return whether steps of that size stay on the grid and arrive at `high`."""
    if not math.isfinite(step) or step <= 0 or (whole and not isinstance(step, int)):
        return False
    counts = [(high - low) / step] + ([] if grid is None else [step / grid])
    return all(abs(count - round(count)) < 1e-6 for count in counts)
