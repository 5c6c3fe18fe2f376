"""A lease of a device, across processes and users of this machine: alone, or shared with others.

A lease is `flock` on files: one for a GPU, named after its UUID (a MIG instance has its own), or
one for each CPU that this process may run on, so that overlapping sets exclude each other and
disjoint ones do not. The kernel frees it when its holder dies. It is advisory: it keeps those
apart who ask for it.

Measuring needs the device alone, training shares it. Next to each file there is a second one, which
whoever wants the device alone has from the moment he asks until he is done: those who share it look
there at each step, and make way. (docs/measuring.md)
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from search.device_lease._lock_table import LOCKS
from search.device_lease.lock_files import Holder, LeaseFolder, own_folder, shared_folder

POLL_SECONDS = 0.2
SAID_AFTER_SECONDS = 2.0  # do not report waits shorter than this
ALONE = ".alone"  # suffix of the file held by a process that requests exclusive access


class LeaseTimeout(RuntimeError):
    """Another process kept the device; `holder` says which, if that is known."""

    def __init__(self, words: str, holder: Holder | None) -> None:
        super().__init__(words)
        self.holder = holder


@dataclass(frozen=True, slots=True)
class Lease:
    """A held lease: the keys of the device, its reach in words, the seconds it was waited
    for."""

    keys: tuple[str, ...]
    description: str
    waited_seconds: float = 0.0


@dataclass
class Waiting:
    """Waits for a device, from moment to moment: says for whom, and asks whether to continue.

    `seconds` is how long it has waited by now, all in all.
    """

    device: torch.device
    limit_seconds: float
    on_wait: Callable[[str], None]
    check: Callable[[], None]
    known: Callable[[Holder], bool]
    now: Callable[[], float]
    sleep: Callable[[float], None]
    seconds: float = 0.0
    _heard: set[tuple[str, int] | None] = field(default_factory=set)

    def until(self, lock: Callable[[], tuple[str, Holder | None] | None]) -> None:
        """Waits until `lock` has no key that another process has; LeaseTimeout."""
        begun = self.now()
        while (missing := lock()) is not None:
            self.check()
            waited = self.now() - begun
            self._tell(*missing, waited)
            self.sleep(min(POLL_SECONDS, self.limit_seconds - waited))
            self.seconds += self.now() - begun - waited

    def _tell(self, key: str, holder: Holder | None, waited: float) -> None:
        words = f"{_named(self.device, key)} is leased by {holder or 'another process'}"
        if waited >= self.limit_seconds:
            raise LeaseTimeout(f"{words}; waited {self.limit_seconds:g} s for it", holder)
        who = None if holder is None else (key, holder.pid)
        if waited < SAID_AFTER_SECONDS or who in self._heard:
            return
        if holder is None or not self.known(holder):
            limit = f" up to {self.limit_seconds:g} s" if math.isfinite(self.limit_seconds) else ""
            self.on_wait(f"{words}; waiting{limit}")
        self._heard.add(who)


@contextmanager
def device_lease(
    device: torch.device,
    *,
    wait_seconds: float,
    on_wait: Callable[[str], None] = lambda _words: None,
    check: Callable[[], None] = lambda: None,
    known: Callable[[Holder], bool] = lambda _holder: False,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Lease]:
    """Holds `device` alone; LeaseTimeout if others keep it for `wait_seconds`.

    While it waits, `on_wait` hears once of each process that has the device, but for those that
    are `known`, and `check` is called several times a second: what it raises ends the waiting.
    Within one process a lease may be taken again, and a process enters the lease of one that it
    descends from; children of one holder are not kept from each other.
    """
    folder, reach = open_folder()
    keys = device_keys(device)
    if folder is None:
        yield Lease(keys, reach)
        return
    names = [name for key in keys for name in (key + ALONE, key)]
    taken: list[Path] = []
    waiting = Waiting(device, wait_seconds, on_wait, check, known, now, sleep)

    def lock() -> tuple[str, Holder | None] | None:
        # ascending, and what is taken is kept: nobody starves, and no two wait for each other
        for name in names[len(taken) :]:
            if not LOCKS.take(folder, name, shared=False):
                return name.removesuffix(ALONE), folder.holder(name)
            taken.append(folder.path / name)
        return None

    try:
        waiting.until(lock)
        yield Lease(keys, reach, waiting.seconds)
    finally:
        for path in reversed(taken):
            LOCKS.give_back(path)
        folder.close()


def lease_holders(device: torch.device) -> dict[str, Holder | None]:
    """The parts of `device` that a process holds just now, and who that is if it is known."""
    folder, _ = open_folder()
    if folder is None:
        return {}
    try:
        held = [key for key in device_keys(device) if folder.is_held(key)]
        return {_named(device, key): folder.holder(key) for key in held}
    finally:
        folder.close()


def lease_reach() -> str:
    """Return which processes a lease taken here excludes, in words."""
    folder, reach = open_folder()
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


def open_folder() -> tuple[LeaseFolder | None, str]:
    """The folder of leases that can be used, and whom a lease in it keeps away."""
    try:
        shared = shared_folder()
        return LeaseFolder(shared, everybody=True), f"all users of this machine, in {shared}"
    except OSError as error:
        trouble = _trouble(error)
    try:
        own = own_folder()
        folder = LeaseFolder(own, everybody=False)
        return folder, f"this user's processes only, in {own} ({trouble})"
    except OSError as error:
        return None, f"nobody: {trouble}; {_trouble(error)}"


def _trouble(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
