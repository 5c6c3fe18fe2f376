"""Size of a space: its combinations of values, counted branch by branch and never listed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from metaformer.errors import SpecError
from mixers import Choice, Domain, IntRange, OptionValue
from search.space._syntax import ends
from search.space.search_space import SearchSpace


@dataclass(frozen=True)
class SpaceSize:
    """`combinations` of the values of all parameters but the `continuous` ones, by name. Some may
    make the same network."""

    combinations: int
    continuous: tuple[str, ...]

    def to_data(self) -> dict[str, Any]:
        return {"combinations": self.combinations, "continuous": list(self.continuous)}


def size_of(space: SearchSpace) -> SpaceSize:
    """Counts: independent choices multiply, and what only one value leads to counts under it."""
    names = list(_asked(space, {}))
    continuous = [name for name, domain in space.parameters.items() if _values(domain) is None]
    return SpaceSize(_combinations(space, names, {}), tuple(continuous))


def _combinations(space: SearchSpace, names: Sequence[str], fixed: dict[str, OptionValue]) -> int:
    """Of the parameters in `names`, in the order that they are asked for, if `fixed` holds."""
    total, left = 1, list(names)
    while left:
        name = left.pop(0)
        domain = _asked(space, fixed)[name]
        if not isinstance(domain, Choice):  # nothing follows from where in a range a value lies
            total *= _values(domain) or 1
            continue
        asked = {value: list(_asked(space, {**fixed, name: value})) for value in domain.values}
        always = set.intersection(*(set(found) for found in asked.values()))
        total *= sum(
            _combinations(
                space, [other for other in found if other not in always], {**fixed, name: value}
            )
            for value, found in asked.items()
        )
        left = [other for other in left if other in always]
    return total


def _asked(space: SearchSpace, fixed: Mapping[str, OptionValue]) -> dict[str, Domain]:
    """The parameters that make a backbone, in order, those of `fixed` at that value and the others
    at their first: which ones there are may follow from the values of others."""
    found: dict[str, Domain] = {}

    def choose(name: str, domain: Domain) -> OptionValue:
        found[name] = domain
        return fixed.get(name, ends(domain)[0])

    with suppress(SpecError):  # all have been asked for before the values are held together
        space.backbone(choose)
    return found


def _values(domain: Domain) -> int | None:
    """Number of values of a domain; None if it is continuous."""
    if isinstance(domain, Choice):
        return len(domain.values)
    if isinstance(domain, IntRange):
        return (domain.high - domain.low) // domain.step + 1
    if domain.step is None:
        return None
    return math.floor((domain.high - domain.low) / domain.step + 1e-6) + 1
