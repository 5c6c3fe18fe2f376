"""Table of the lease locks that this process holds (re-entrant)."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from search.device_lease.lock_files import Holder, LeaseFolder, give_back, sign
from search.hardware.process_tree import ancestors, start_ticks


@dataclass(slots=True)
class _Held:
    """A lock of this process: its descriptor (None: an ancestor's) and how many leases use it."""

    descriptor: int | None
    shared: bool
    uses: int = 1


@dataclass
class HeldLocks:
    """The locks that this process has, whichever of its leases asked for them."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    held: dict[Path, _Held] = field(default_factory=dict)

    def take(self, folder: LeaseFolder, name: str, *, shared: bool) -> bool:
        """Takes the lock, or uses it once more; False if a foreign process has it."""
        path = folder.path / name
        with self.guard:
            held = self.held.get(path)
            if held is not None:
                assert shared or not held.shared, "who shares a device lets go before measuring"
                held.uses += 1
                return True
            descriptor = folder.take(name, shared=shared)
            if descriptor is not None:
                sign(descriptor, Holder.this_process(shared=shared))
            elif not is_ancestor(folder.holder(name)):
                return False
            self.held[path] = _Held(descriptor, shared)
            return True

    def is_foreign(self, folder: LeaseFolder, name: str) -> bool:
        """Return whether a process has the lock for itself alone that is neither this one nor one
        that it descends from."""
        with self.guard:
            if folder.path / name in self.held or not folder.is_held(name):
                return False
        return not is_ancestor(folder.holder(name))

    def give_back(self, path: Path) -> None:
        with self.guard:
            held = self.held.get(path)
            if held is None:  # a forked child leaves the lease of its parent's
                return
            held.uses -= 1
            if held.uses == 0:
                del self.held[path]
                if held.descriptor is not None:
                    give_back(held.descriptor)

    def forget(self) -> None:
        """In a forked child: what the parent holds dies with the parent, not with the child."""
        for held in self.held.values():
            if held.descriptor is not None:
                os.close(held.descriptor)
        self.guard, self.held = threading.Lock(), {}


LOCKS = HeldLocks()
os.register_at_fork(after_in_child=LOCKS.forget)


def is_ancestor(holder: Holder | None) -> bool:
    """Return whether this process descends from `holder`, which waits for it as long as it has a
    device to itself; a pid of another container does not deceive."""
    if holder is None or holder.start_ticks is None or holder.shared:
        return False
    if holder.pid not in ancestors(os.getpid()):
        return False
    return start_ticks(holder.pid) == holder.start_ticks
