"""Installed entry points of a group, found without importing what they name."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import PurePath
from typing import TypeAlias

GROUP = "metaformer.mixers"
OWN_DISTRIBUTION = "metaformer-search"


@dataclass(frozen=True, slots=True)
class Damaged:
    """A distribution whose metadata cannot be read: its name as far as known, and the reason."""

    name: str
    reason: str


_Found: TypeAlias = tuple[tuple[EntryPoint, ...], tuple[Damaged, ...]]


def scan(group: str = GROUP) -> tuple[EntryPoint, ...]:
    """Return the entry points of all installed distributions; read once for a `sys.path`.

    A distribution that is damaged gives none and does not keep the others from being found.
    """
    return _scan(tuple(sys.path), group)[0]


def damaged(group: str = GROUP) -> tuple[Damaged, ...]:
    """Return the distributions that name the group and cannot be read, by the order of the path."""
    return _scan(tuple(sys.path), group)[1]


@lru_cache(maxsize=4)
def _scan(_path: tuple[str, ...], group: str) -> _Found:
    return read_points(distributions(), group)


def read_points(found: Iterable[Distribution], group: str) -> _Found:
    """Return the entry points of the group that these distributions give, and the damaged ones."""
    points: list[EntryPoint] = []
    broken: list[Damaged] = []
    for distribution in found:
        try:
            text = distribution.read_text("entry_points.txt")
            if text is None or group not in text:
                continue
            points += _points(distribution, group)
        except Exception as error:  # noqa: BLE001 -- what is damaged may raise anything
            reason = str(error) or type(error).__name__
            broken.append(Damaged(_name(distribution), f"{_place(distribution)}: {reason}"))
    return tuple(points), tuple(broken)


def _points(distribution: Distribution, group: str) -> list[EntryPoint]:
    """The distribution's entry points of the group; ValueError if its metadata lack something."""
    for key in ("Name", "Version"):
        if not distribution.metadata[key]:
            raise ValueError(f"METADATA has no {key}")
    first = next(iter(Distribution.discover(name=distribution.metadata["Name"])), distribution)
    if str(first.locate_file("")) != str(distribution.locate_file("")):
        return []  # another version comes first on the path, and is the one that is imported
    try:
        own = [point for point in distribution.entry_points if point.group == group]
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"entry_points.txt: a line is not NAME = MODULE:CLASS ({error})") from None
    if not own:
        raise ValueError(f"entry_points.txt: names {group} and has no section of that name")
    return own


def _place(distribution: Distribution) -> str:
    """The folder of the metadata; importlib.metadata has no public name for it."""
    return str(getattr(distribution, "_path", distribution.locate_file("")))


def _name(distribution: Distribution) -> str:
    """The name as the folder of the metadata has it: METADATA may be what is damaged."""
    return PurePath(_place(distribution)).name.partition("-")[0] or "unknown"
