"""Other processes on a GPU, and which of them compute: from the driver's lists and samples.

A process that holds a context is listed, whether it computes or not. The driver also samples how
much of the time each process's kernels ran. That has been seen to go wrong, and to hold nothing
at all in some places, so it is believed only if it shows this process's own work too.
https://docs.nvidia.com/deploy/nvml-api/group__nvmlGridQueries.html
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from search.hardware.process_tree import command_of, is_family, printable

WINDOW_MICROSECONDS = 2_000_000  # who worked within it is at work; samples come up to 1 s late
_SHARES = ("smUtil", "memUtil", "encUtil", "decUtil")  # percent of the time


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process with a context on the GPU; its name is empty if it cannot be seen from here."""

    pid: int
    name: str
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class OtherProcesses:
    """The processes outside this one's family: `foreign` compute, or may; `idle` do not.

    `foreign` is None if they cannot be told from this one, with the reason in
    `foreign_unknown`. Where work cannot be told from idleness all are foreign, with the reason in
    `idle_unknown`.
    """

    foreign: tuple[GpuProcess, ...] | None
    foreign_unknown: str = ""
    idle: tuple[GpuProcess, ...] = ()
    idle_unknown: str = ""


def unix_microseconds() -> int:
    """The clock of the driver's samples."""
    return time.time_ns() // 1000


class ProcessWatch:
    """Watches who else is on one GPU, from reading to reading.

    `ask` calls a function of NVML, None if there is no answer. `owns_context`: this process
    computes on the GPU by now.
    """

    def __init__(
        self,
        ask: Callable[..., Any],
        handle: Any,
        owns_context: Callable[[], bool],
        now: Callable[[], int] = unix_microseconds,
    ) -> None:
        self._ask, self._handle, self._owns_context, self._now = ask, handle, owns_context, now
        self._before: dict[int, tuple[GpuProcess, int]] | None = None  # with when they came

    def read(self, *, mig: bool) -> OtherProcesses:
        """A container may show none of the others', or all of them under pids of the host, if
        this process cannot find itself: then one of the list is this one."""
        listed = self._ask("nvmlDeviceGetComputeRunningProcesses", self._handle)
        if listed is None:
            return OtherProcesses(None, "the driver does not list the processes on this GPU")
        found = {int(process.pid): process for process in listed}
        others = {pid: process for pid, process in found.items() if not is_family(pid)}
        seen = len(others) < len(found)
        if seen or not self._owns_context():
            return self._by_their_work(others, mig=mig)
        if not found:
            words = "this process is not in the driver's list, as in a container: nor may others"
            return OtherProcesses(None, words)
        if len(found) == 1:
            return OtherProcesses(())
        words = f"{len(found)} processes, one of which is this, under pids of another container"
        return OtherProcesses(None, words)

    def _by_their_work(self, others: dict[int, Any], *, mig: bool) -> OtherProcesses:
        """Those that have just come, and those that have just gone, may have worked meanwhile."""
        now, before = self._now(), self._before
        came = 0 if before is None else now
        current = {
            pid: (self._named(process), (before or {}).get(pid, (None, came))[1])
            for pid, process in others.items()
        }
        self._before = current
        everybody = {**(before or {}), **current}
        if not everybody:
            return OtherProcesses(())
        since = now - WINDOW_MICROSECONDS
        samples = () if mig else self._ask("nvmlDeviceGetProcessUtilization", self._handle, since)
        working = pids_at_work(samples or (), since=since, own=os.getpid())
        if working is None:
            words = "the driver shows no work of this process, and so may not show that of others"
            unknown = "of MIG instances the driver does not tell who works" if mig else words
            return OtherProcesses(tuple(p for p, _ in current.values()), idle_unknown=unknown)
        foreign = {
            pid: process
            for pid, (process, came) in everybody.items()
            if pid in working or came > since
        }
        idle = tuple(process for pid, (process, _) in current.items() if pid not in foreign)
        return OtherProcesses(tuple(foreign.values()), idle=idle)

    def _named(self, process: Any) -> GpuProcess:
        pid = int(process.pid)
        name = command_of(pid) or self._ask("nvmlSystemGetProcessName", pid) or ""
        memory = process.usedGpuMemory
        return GpuProcess(pid, printable(str(name), 100), None if memory is None else int(memory))


def pids_at_work(samples: Iterable[Any], *, since: int, own: int) -> frozenset[int] | None:
    """The pids that `samples` of after `since` show at work; None if `own` is not among them.

    Drivers have been seen to give samples older than asked for, of no process that there is, and
    of far more than 100 %. Such a share proves no work of `own`, and no idleness of others.
    """
    working, own_is_shown = set(), False
    for sample in samples:
        if sample.timeStamp <= since:
            continue
        shares = [int(getattr(sample, name)) for name in _SHARES]
        if any(shares):
            working.add(int(sample.pid))
        if sample.pid == own and sample.smUtil > 0 and max(shares) <= 100:
            own_is_shown = True
    return frozenset(working) if own_is_shown else None
