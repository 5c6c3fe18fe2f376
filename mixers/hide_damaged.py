"""A damaged distribution, hidden from libraries that would not start because of it.

torch, triton and pydantic read the entry points of every distribution while they are imported. One
file that cannot be parsed makes `importlib.metadata.entry_points()` raise, and with it the import.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, DistributionFinder

from mixers.scan import Damaged, damaged_in_any_group, metadata_folder


def hide_damaged_distributions() -> tuple[Damaged, ...]:
    """Have `importlib.metadata` find no distribution whose entry points cannot be read.

    Modules are imported as before, and `mixers.scan` still lists what is hidden.

    Returns:
        The distributions that are hidden, in this process and until it ends.
    """
    broken = damaged_in_any_group()
    if not broken:
        return ()
    hidden = {one.folder for one in broken}

    class SoundFinder(PathFinder):
        @classmethod
        def find_distributions(  # type: ignore[override]  # typeshed names the one argument
            cls, *context: DistributionFinder.Context
        ) -> Iterator[Distribution]:
            for distribution in PathFinder.find_distributions(*context):
                if metadata_folder(distribution) not in hidden:
                    yield distribution

    sys.meta_path[:] = [SoundFinder if finder is PathFinder else finder for finder in sys.meta_path]
    return broken
