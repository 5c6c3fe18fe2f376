"""State of the process as a whole, outside torch and numpy: reading and restoring it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def _write_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _write_warning_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]  # a list, typed as a sequence


def _read_directory() -> str:
    with suppress(FileNotFoundError):
        return os.getcwd()
    return ""


def _write_directory(path: str) -> None:
    if path:
        os.chdir(path)


def _read_umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _write_umask(mask: int) -> None:
    os.umask(mask)


def _write_signals(handlers: dict[int, Any]) -> None:
    if threading.current_thread() is threading.main_thread():  # python allows it nowhere else
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) != handler:
                signal.signal(number, handler)


def _read_log() -> tuple[int, int, list[Any], list[Any]]:
    root = logging.getLogger()
    return root.level, root.manager.disable, list(root.handlers), list(root.filters)


def _write_log(state: tuple[int, int, list[Any], list[Any]]) -> None:
    root = logging.getLogger()
    root.setLevel(state[0])
    root.manager.disable = state[1]
    root.handlers[:], root.filters[:] = state[2:]


def _read_streams() -> tuple[Any, ...]:
    return sys.stdin, sys.stdout, sys.stderr, sys.excepthook


def _write_streams(streams: tuple[Any, ...]) -> None:
    sys.stdin, sys.stdout, sys.stderr, sys.excepthook = streams


def _read_interpreter() -> tuple[Any, ...]:
    return sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), gc.get_threshold()


def _write_interpreter(state: tuple[Any, ...]) -> None:
    sys.setrecursionlimit(state[0])
    sys.setswitchinterval(state[1])
    (gc.enable if state[2] else gc.disable)()
    gc.set_threshold(*state[3])


def _read_affinity() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _write_affinity(processors: set[int]) -> None:
    os.sched_setaffinity(0, processors)


def _write_import_path(path: list[str]) -> None:
    sys.path[:] = path


PROCESS_PARTS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "the processors that may be used": (_read_affinity, _write_affinity),
    "the working directory": (_read_directory, _write_directory),
    "the umask": (_read_umask, _write_umask),
    "the signal handlers": (
        lambda: {number: signal.getsignal(number) for number in signal.valid_signals()},
        _write_signals,
    ),
    "sys.path": (lambda: list(sys.path), _write_import_path),
    "the root logger": (_read_log, _write_log),
    "the standard streams": (_read_streams, _write_streams),
    "the interpreter's settings": (_read_interpreter, _write_interpreter),
    "os.environ": (lambda: dict(os.environ), _write_environment),
    "the warnings filters": (lambda: list(warnings.filters), _write_warning_filters),
}
