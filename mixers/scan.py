"""What is installed: the entry points of the group `metaformer.mixers`, found without an import."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

GROUP = "metaformer.mixers"
OWN_DISTRIBUTION = "metaformer-search"


def scan() -> tuple[EntryPoint, ...]:
    """The entry points of all installed distributions; read once for a `sys.path`."""
    return _scan(tuple(sys.path))


@lru_cache(maxsize=4)
def _scan(_path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))
