"""Watchdog: kills the worker's process group when its parent dies."""

from __future__ import annotations

import os
import signal
import threading
import time

LOOKING_SECONDS = 1.0
GRACE_SECONDS = 10.0  # to end by itself at the next step


def end_with(parent: int) -> None:
    """From now on this process, the leader of its group, is killed with the group when `parent`
    has been gone for a while, whatever it does then: a mixer may never return."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOKING_SECONDS)
    time.sleep(GRACE_SECONDS)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
