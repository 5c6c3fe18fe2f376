"""Signal handling: stop cleanly and print the command that resumes."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from search.cli.errors import ExitCode, stop


def interrupted_before_the_study() -> AbstractContextManager[None]:
    """Ctrl-C while libraries are imported and settings read, which takes seconds."""
    return interrupted("Interrupted before the study began. To resume:")


@contextmanager
def interrupted(words: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the command with `words`, the command itself behind them."""

    def interrupt(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        stop(f"{words} {command_line()}", ExitCode.INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)


class Interrupt:
    """Request of the user to stop: the first Ctrl-C stops at the next step, the second at once."""

    def __init__(self) -> None:
        self._asked = False

    def is_set(self) -> bool:
        return self._asked

    @contextmanager
    def listening(self, observer: Any) -> Iterator[None]:
        def ask(number: int, _frame: Any) -> None:
            if self._asked and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._asked = True
            if number == signal.SIGHUP:
                _say_no_more(to_terminal)
            observer.note("stopping at the next step; Ctrl-C again stops at once")

        to_terminal = [number for number in (1, 2) if os.isatty(number)]
        asking = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
            asking.append(signal.SIGHUP)
        before = {number: signal.signal(number, ask) for number in asking}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _say_no_more(descriptors: Iterable[int]) -> None:
    """Redirect these descriptors to /dev/null: the terminal is gone and refuses writes."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in descriptors:
        os.dup2(nowhere, number)
    os.close(nowhere)


def command_line() -> str:
    return shlex.join(["search", *sys.argv[1:]])
