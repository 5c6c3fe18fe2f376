"""An exclusive lease of a device, across processes and users of this machine.

A lease is `flock` on a file: one for a GPU, named after its UUID (a MIG instance has its own), or
one for each CPU that this process may run on, so that overlapping sets exclude each other and
disjoint ones do not. The kernel frees it when its holder dies. It is advisory: it keeps those
apart who ask for it. (docs/measuring.md)
"""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from search.throughput.lease_files import (
    Holder,
    LeaseFolder,
    give_back,
    own_folder,
    shared_folder,
    sign,
)
from search.throughput.process_family import ancestors, start_ticks

POLL_SECONDS = 0.2


class LeaseTimeout(RuntimeError):
    """Another process kept the device; `holder` says which, where that is known."""

    def __init__(self, words: str, holder: Holder | None) -> None:
        super().__init__(words)
        self.holder = holder


@dataclass(frozen=True, slots=True)
class Lease:
    """What is held: the keys of the device, and how far that reaches, in words."""

    keys: tuple[str, ...]
    description: str


@dataclass(slots=True)
class _Held:
    """A lock of this process: its descriptor (None: an ancestor's) and how many leases use it."""

    descriptor: int | None
    uses: int = 1


@dataclass
class _Process:
    """The locks that this process has: re-entrance is a matter of processes, not of callers."""

    guard: threading.Lock = field(default_factory=threading.Lock)
    held: dict[Path, _Held] = field(default_factory=dict)

    def take(self, folder: LeaseFolder, key: str) -> bool:
        """Takes the lock, or uses it once more; False where a foreign process has it."""
        path = folder.path / key
        with self.guard:
            if path in self.held:
                self.held[path].uses += 1
                return True
            descriptor = folder.take(key)
            if descriptor is not None:
                sign(descriptor, Holder.this_process())
            elif not _is_ancestor(folder.holder(key)):
                return False
            self.held[path] = _Held(descriptor)
            return True

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


_PROCESS = _Process()
os.register_at_fork(after_in_child=_PROCESS.forget)


@contextmanager
def device_lease(
    device: torch.device,
    *,
    wait_seconds: float,
    on_wait: Callable[[str], None] = lambda _words: None,
    check: Callable[[], None] = lambda: None,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Lease]:
    """Holds `device` exclusively; LeaseTimeout where others keep it for `wait_seconds`.

    While it waits, `on_wait` hears once of each process that has the device, and `check` is called
    several times a second: what it raises ends the waiting. Within one process a lease may be taken
    again, and a process enters the lease of one that it descends from; children of one holder are
    not kept from each other.
    """
    folder, reach = _open_folder()
    keys = device_keys(device)
    if folder is None:
        yield Lease(keys, reach)
        return
    taken: list[Path] = []
    deadline = now() + wait_seconds
    heard: set[tuple[str, int] | None] = set()
    try:
        # ascending, and what is taken is kept: nobody starves, and no two wait for each other
        for key in keys:
            while not _PROCESS.take(folder, key):
                check()
                holder = folder.holder(key)
                words = f"{_named(device, key)} is leased by {holder or 'another process'}"
                if now() >= deadline:
                    raise LeaseTimeout(f"{words}; waited {wait_seconds:g} s for it", holder)
                who = None if holder is None else (key, holder.pid)
                if who not in heard:
                    limit = f" up to {wait_seconds:g} s" if math.isfinite(wait_seconds) else ""
                    on_wait(f"{words}; waiting{limit}")
                    heard.add(who)
                sleep(min(POLL_SECONDS, max(0.0, deadline - now())))
            taken.append(folder.path / key)
        yield Lease(keys, reach)
    finally:
        for path in reversed(taken):
            _PROCESS.give_back(path)
        folder.close()


def lease_holders(device: torch.device) -> dict[str, Holder | None]:
    """The parts of `device` that a process holds just now, and who that is where it is known."""
    folder, _ = _open_folder()
    if folder is None:
        return {}
    try:
        held = [key for key in device_keys(device) if folder.is_held(key)]
        return {_named(device, key): folder.holder(key) for key in held}
    finally:
        folder.close()


def lease_reach() -> str:
    """Whom a lease taken here keeps away, in words."""
    folder, reach = _open_folder()
    if folder is not None:
        folder.close()
    return reach


def device_keys(device: torch.device) -> tuple[str, ...]:
    """Names of the lock files of `device`, in the order in which they are taken."""
    if device.type == "cuda":
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        return ("gpu-" + re.sub(r"[^A-Za-z0-9-]", "_", uuid.removeprefix("GPU-")),)
    if device.type == "cpu" and hasattr(os, "sched_getaffinity"):
        return tuple(f"cpu-{cpu:05d}" for cpu in sorted(os.sched_getaffinity(0)))
    return (f"{device.type}-{device.index or 0}",)


def _named(device: torch.device, key: str) -> str:
    kind, _, number = key.partition("-")
    return f"CPU {int(number)}" if kind == "cpu" and number.isdigit() else f"{device} ({key})"


def _open_folder() -> tuple[LeaseFolder | None, str]:
    """The folder of leases that can be used, and whom a lease in it keeps away."""
    shared, own = shared_folder(), own_folder()
    try:
        return LeaseFolder(shared, everybody=True), f"all users of this machine, in {shared}"
    except OSError as error:
        trouble = f"{shared}: {error.strerror or error}"
    try:
        return LeaseFolder(
            own, everybody=False
        ), f"this user's processes only, in {own} ({trouble})"
    except OSError as error:
        return None, f"nobody: {trouble}; {own}: {error.strerror or error}"


def _is_ancestor(holder: Holder | None) -> bool:
    """Whether this process descends from `holder`; a pid of another container does not deceive."""
    if holder is None or holder.start_ticks is None:
        return False
    if holder.pid not in ancestors(os.getpid()):
        return False
    return start_ticks(holder.pid) == holder.start_ticks
