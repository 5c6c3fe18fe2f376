"""Signals to a study, on a real terminal."""

from __future__ import annotations

import os
import pty
import signal
import sys
from pathlib import Path

STUDY = """
import time
from pathlib import Path
from search.cli.interrupt import Interrupt
from search.cli.progress import PlainObserver

interrupt, observer = Interrupt(), PlainObserver()
with interrupt.listening(observer):
    observer.note("begun")
    while not interrupt.is_set():
        time.sleep(0.01)
    observer.note("what else there is to say")
Path("done").touch()
"""


def test_a_terminal_that_is_closed_asks_to_stop_and_nothing_more_is_written_to_it() -> None:
    pid, terminal = pty.fork()
    if pid == 0:  # the study, whose terminal this is; under nohup it would inherit deafness
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.execv(sys.executable, [sys.executable, "-c", STUDY])
    said = b""
    while b"begun" not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)  # the kernel sends SIGHUP
    os.waitpid(pid, 0)
    assert Path("done").exists()
