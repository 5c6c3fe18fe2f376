"""A lease of a device by those who compute next to each other, and make way for who measures."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from search.device_lease._lock_table import LOCKS
from search.device_lease.lease import ALONE, Waiting, device_keys, open_folder
from search.device_lease.lock_files import Holder, LeaseFolder


class SharedLease:
    """A device on which others compute too, and nobody measures meanwhile."""

    def __init__(self, folder: LeaseFolder | None, waiting: Waiting) -> None:
        self._folder, self._waiting = folder, waiting
        self._keys = device_keys(waiting.device)
        self._taken: list[Path] = []

    @property
    def waited_seconds(self) -> float:
        """Seconds waited for the device, at first and since."""
        return self._waiting.seconds

    def make_way(self) -> None:
        """Called between steps: whoever wants the device alone has it first."""
        folder, device = self._folder, self._waiting.device
        if folder is None or not any(LOCKS.is_foreign(folder, key + ALONE) for key in self._keys):
            return
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # what was asked of it may still be under way
        self.give_back()
        self.take()

    def take(self) -> None:
        """Waits until nobody has the device alone, or wants it."""
        if self._folder is not None:
            self._waiting.until(self._lock)

    def give_back(self) -> None:
        while self._taken:
            LOCKS.give_back(self._taken.pop())

    def _lock(self) -> tuple[str, Holder | None] | None:
        """All of it or nothing, so that who waits keeps nobody waiting."""
        assert self._folder is not None
        for key in self._keys:
            alone = LOCKS.is_foreign(self._folder, key + ALONE)
            if alone or not LOCKS.take(self._folder, key, shared=True):
                self.give_back()
                return key, self._folder.holder(key + ALONE if alone else key)
            self._taken.append(self._folder.path / key)
        return None


@contextmanager
def shared_lease(
    device: torch.device,
    *,
    on_wait: Callable[[str], None] = lambda _words: None,
    check: Callable[[], None] = lambda: None,
    known: Callable[[Holder], bool] = lambda _holder: False,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[SharedLease]:
    """Shares `device` with all who do, for as long as nobody wants it alone.

    The holder calls `make_way` between its steps. It is waited for as `device_lease` is, without
    end.
    """
    folder, _ = open_folder()
    lease = SharedLease(folder, Waiting(device, math.inf, on_wait, check, known, now, sleep))
    try:
        lease.take()
        yield lease
    finally:
        lease.give_back()
        if folder is not None:
            folder.close()
