"""Installed entry points of a group, found without importing what they name."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import TypeAlias

GROUP = "metaformer.mixers"
OWN_DISTRIBUTION = "metaformer-search"


@dataclass(frozen=True, slots=True)
class Damaged:
    """A distribution whose metadata cannot be read.

    `name` as far as it is known, `reason` with the `folder` of the metadata.
    """

    name: str
    reason: str
    folder: str


_Found: TypeAlias = tuple[tuple[EntryPoint, ...], tuple[Damaged, ...]]
_Texts: TypeAlias = tuple[tuple[Distribution, str | Damaged], ...]


def scan(group: str = GROUP) -> tuple[EntryPoint, ...]:
    """Return the entry points of all installed distributions; read once for a `sys.path`.

    A distribution that is damaged gives none and does not keep the others from being found.
    """
    return _scan(tuple(sys.path), group)[0]


def damaged(group: str = GROUP) -> tuple[Damaged, ...]:
    """Return the distributions that name the group and cannot be read, by the order of the path."""
    return _scan(tuple(sys.path), group)[1]


def damaged_in_any_group() -> tuple[Damaged, ...]:
    """Return the distributions whose entry points cannot be read, whatever group they are of.

    One of them is enough to make `importlib.metadata.entry_points()` raise, which `import torch`
    calls.
    """
    broken = []
    for distribution, text in _texts(tuple(sys.path)):
        if isinstance(text, Damaged):
            broken.append(text)
            continue
        try:
            _all_points(distribution)
        except Exception as error:  # noqa: BLE001 -- what is damaged may raise anything
            broken.append(_damaged(distribution, error))
    return tuple(broken)


@lru_cache(maxsize=4)
def _scan(path: tuple[str, ...], group: str) -> _Found:
    return _read_points(_texts(path), group)


@lru_cache(maxsize=4)
def _texts(_path: tuple[str, ...]) -> _Texts:
    return _read_texts(distributions())


def read_points(found: Iterable[Distribution], group: str) -> _Found:
    """Return the entry points of the group that these distributions give, and the damaged ones."""
    return _read_points(_read_texts(found), group)


def _read_texts(found: Iterable[Distribution]) -> _Texts:
    """The distributions with entry points, each with the text of the file or its damage."""
    texts: list[tuple[Distribution, str | Damaged]] = []
    for distribution in found:
        try:
            _require_file(distribution, "entry_points.txt")
            text = distribution.read_text("entry_points.txt")
            if text:
                texts.append((distribution, text))
        except Exception as error:  # noqa: BLE001 -- what is damaged may raise anything
            texts.append((distribution, _damaged(distribution, error)))
    return tuple(texts)


def _read_points(texts: _Texts, group: str) -> _Found:
    points: list[EntryPoint] = []
    broken: list[Damaged] = []
    for distribution, text in texts:
        if isinstance(text, Damaged):
            broken.append(text)
            continue
        if group not in text:
            continue
        try:
            points += _points(distribution, group)
        except Exception as error:  # noqa: BLE001 -- what is damaged may raise anything
            broken.append(_damaged(distribution, error))
    return tuple(points), tuple(broken)


def _require_file(distribution: Distribution, name: str) -> None:
    """ValueError if what has this name in the metadata is no file: reading a pipe never ends."""
    path = Path(metadata_folder(distribution)) / name
    with suppress(OSError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{name} is not a regular file")


def _damaged(distribution: Distribution, error: Exception) -> Damaged:
    folder, reason = metadata_folder(distribution), str(error) or type(error).__name__
    return Damaged(_name(distribution), f"{folder}: {reason}", folder)


def _points(distribution: Distribution, group: str) -> list[EntryPoint]:
    """The distribution's entry points of the group; ValueError if its metadata lack something."""
    for name in ("METADATA", "PKG-INFO"):  # either is read
        _require_file(distribution, name)
    for key in ("Name", "Version"):
        if not distribution.metadata[key]:
            raise ValueError(f"METADATA has no {key}")
    first = next(iter(Distribution.discover(name=distribution.metadata["Name"])), distribution)
    if str(first.locate_file("")) != str(distribution.locate_file("")):
        return []  # another version comes first on the path, and is the one that is imported
    own = [point for point in _all_points(distribution) if point.group == group]
    if not own:
        raise ValueError(f"entry_points.txt: names {group} and has no section of that name")
    return own


def _all_points(distribution: Distribution) -> tuple[EntryPoint, ...]:
    try:
        return tuple(distribution.entry_points)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"entry_points.txt: a line is not NAME = MODULE:CLASS ({error})") from None


def metadata_folder(distribution: Distribution) -> str:
    """Return the folder of the metadata; importlib.metadata has no public name for it."""
    return str(getattr(distribution, "_path", distribution.locate_file("")))


def _name(distribution: Distribution) -> str:
    """The name as the folder of the metadata has it: METADATA may be what is damaged."""
    return Path(metadata_folder(distribution)).name.partition("-")[0] or "unknown"
