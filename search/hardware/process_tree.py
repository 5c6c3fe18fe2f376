"""Command and ancestry of a process, from /proc; empty without it.

The family of a process is itself, those that started it and those it started. What started this
one waits for it, and what this one started works for it; everybody else is foreign.
"""

from __future__ import annotations

import os
from pathlib import Path

_MAX_DEPTH = 1000  # against a loop in what another kernel may print
_PARENT, _STARTED = 1, 19  # fields of /proc/PID/stat behind the name, which may hold spaces


def is_family(pid: int, *, proc: Path = Path("/proc")) -> bool:
    """Return whether process `pid` is this one, an ancestor or a descendant of it."""
    own = os.getpid()
    return pid == own or pid in ancestors(own, proc=proc) or own in ancestors(pid, proc=proc)


def ancestors(pid: int, *, proc: Path = Path("/proc")) -> list[int]:
    """The processes that `pid` descends from, its parent first, as far as can be seen."""
    found: list[int] = []
    for _ in range(_MAX_DEPTH):
        fields = _stat(pid, proc)
        if fields is None or int(fields[_PARENT]) < 1:
            break
        pid = int(fields[_PARENT])
        found.append(pid)
    return found


def start_ticks(pid: int, *, proc: Path = Path("/proc")) -> int | None:
    """When `pid` was started, in ticks since the machine was: with the pid, a name for good."""
    fields = _stat(pid, proc)
    return int(fields[_STARTED]) if fields is not None else None


def command_of(pid: int, *, proc: Path = Path("/proc")) -> str:
    """The command line of `pid`, or its name in the kernel; empty if neither can be seen."""
    for file, separator in (("cmdline", "\0"), ("comm", "\n")):
        try:
            text = (proc / str(pid) / file).read_text(errors="replace")
        except OSError:
            continue
        if text.strip(separator):
            return printable(text.strip(separator).replace(separator, " "))
    return ""


def printable(text: str, length: int = 200) -> str:
    """`text` on one line, without what would control a terminal, of at most `length` characters."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return shown if len(shown) <= length else shown[: length - 1] + "…"


def _stat(pid: int, proc: Path) -> list[str] | None:
    try:
        text = (proc / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return fields if len(fields) > _STARTED else None
