"""Differences between two settings, a line for each leaf."""

from __future__ import annotations

import json
from itertools import zip_longest
from typing import Any


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the differences between two plain structures, a line each: `path: was X, now Y`.

    A list of scalars that fits on the line is one value.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        pairs = [(f"{path}.{key}" if path else str(key), key) for key in keys]
        return _differences_of([(p, old.get(k, _ABSENT), new.get(k, _ABSENT)) for p, k in pairs])
    if isinstance(old, list) and isinstance(new, list) and not _are_one_value(old, new):
        items = enumerate(zip_longest(old, new, fillvalue=_ABSENT))
        return _differences_of([(f"{path}[{i}]", a, b) for i, (a, b) in items])
    if old == new:
        return []
    was, now = _in_words(old, new)
    return [f"{path}: was {was}, now {now}"]


_ABSENT = object()
_SHOWN = 60  # characters of a value


def _differences_of(parts: list[tuple[str, Any, Any]]) -> list[str]:
    return [line for path, old, new in parts for line in differences(old, new, path)]


def _are_one_value(*lists: list[Any]) -> bool:
    """Return whether lists of different lengths read better whole than item by item."""
    scalars = not any(isinstance(item, dict | list) for values in lists for item in values)
    return len({len(values) for values in lists}) > 1 and scalars and _fits(*map(_yaml, lists))


def _fits(*texts: str) -> bool:
    return all(len(text) <= _SHOWN for text in texts)


def _in_words(old: Any, new: Any) -> tuple[str, str]:
    """Both as YAML writes them, cut to where they differ."""
    was, now = _yaml(old), _yaml(new)
    same = next(
        (place for place, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), len(was)
    )
    if not _fits(was, now) and same > _SHOWN // 2:
        was, now = (f"...{text[same - 10 :]}" for text in (was, now))
    return _cut(was), _cut(now)


def _cut(text: str) -> str:
    return text if _fits(text) else f"{text[: _SHOWN - 3]}..."


def _yaml(value: Any) -> str:
    """A value on one line; JSON is YAML too."""
    return "absent" if value is _ABSENT else json.dumps(value, ensure_ascii=False, default=str)
