"""The checks in a process of their own, which a mixer may crash, hang or fill with its prints.

This module and what it imports know no torch.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mixers.child_process import module_command, module_environment
from mixers.conformance._names import IMPORT, names_of
from mixers.conformance.records import CheckRecord, Status

START = "start"  # of python and torch, which no mixer has a hand in
_SECONDS_TO_START = 120.0
_OVERRUNS = 2  # after so many, the rest would only be waited for


def check_in_child(
    name: str,
    *,
    plugins: str | Path | None = None,
    time_limit: float = 120.0,
    only: Collection[str] | None = None,
    device: str | None = None,
) -> list[CheckRecord]:
    """The records of the installed mixer `name`, whatever it does to its process.

    `time_limit` is in seconds and holds for each check. A check in which the process dies or that
    takes longer is FAILED, and the remaining ones run in a new process; after the second that
    takes longer they are SKIPPED. `device` is by default one that the mixer requires, if it is
    here, else the CPU. A mixer that cannot be had gives one record, `import`.
    """
    wanted = names_of(only)
    records: list[CheckRecord] = []
    overruns = 0
    while True:
        done = {record.check for record in records}
        left = [check for check in wanted if check not in done]
        run = _run_child(_command(name, plugins, left, device), time_limit)
        records += run.settled()
        overruns += run.overran
        if run.ended or run.open in (START, IMPORT):
            return records
        left = left[left.index(records[-1].check) + 1 :]
        if overruns == _OVERRUNS:
            words = f"not run, since {overruns} checks took longer than {time_limit:g} s"
            return records + [CheckRecord(check, Status.SKIPPED, words) for check in left]
        if not left:
            return records


@dataclass
class Told:
    """Messages of one child process: its records, and the check that was running last."""

    records: list[CheckRecord] = field(default_factory=list)
    open: str | None = START
    ended: bool = False
    overran: bool = False
    how: str = ""

    def take(self, event: dict[str, Any]) -> None:
        if "begin" in event:
            self.open = event["begin"]
        elif "end" in event:
            self.ended = True
        else:
            self.records.append(CheckRecord.from_data(event))
            self.open = None

    def settled(self) -> list[CheckRecord]:
        """The records, with a FAILED one for what the process died in, or right after."""
        if self.ended:
            return self.records
        if self.open is not None:
            return [*self.records, CheckRecord(self.open, Status.FAILED, self.how)]
        last = replace(self.records[-1], status=Status.FAILED, detail=f"{self.how} right after it")
        return [*self.records[:-1], last]


def _run_child(command: list[str], time_limit: float) -> Told:
    """One child, until it ends, dies, or one of its checks takes too long."""
    run, pending, limit = Told(), b"", _SECONDS_TO_START
    with _child(command) as (process, descriptor):
        deadline = time.monotonic() + limit
        while not run.ended:
            alive = process.poll() is None  # asked before reading, so that last words are read
            chunk = _read(descriptor, 0.05 if alive else 0.0)
            if chunk:
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    run.take(json.loads(line))
                limit = time_limit
                deadline = time.monotonic() + limit
            elif not alive:
                run.how = _in_words(process.returncode)
                break
            elif time.monotonic() > deadline:
                run.overran, run.how = True, f"took longer than {limit:g} s"
                break
    return run


def _command(
    name: str, plugins: str | Path | None, checks: list[str], device: str | None
) -> list[str]:
    chosen = [] if plugins is None else ["--plugins", str(plugins)]
    chosen += [] if device is None else ["--device", device]
    return module_command("mixers.conformance", name, *chosen, "--only", *checks)


@contextmanager
def _child(command: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process in a session of its own that finds what this one finds; killed at the end."""
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            [*command, "--descriptor", str(writing)],
            stdin=subprocess.DEVNULL,
            env=module_environment(),
            pass_fds=(writing,),
            start_new_session=True,
        )
    except BaseException:  # no child, and so nobody who would read
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        yield process, reading
    finally:
        with suppress(ProcessLookupError, PermissionError):  # nobody left, or only ended ones
            os.killpg(process.pid, signal.SIGKILL)  # what the mixer started too
        process.wait()
        os.close(reading)


def _read(descriptor: int, seconds: float) -> bytes:
    """Read what comes within so many seconds; empty if the other end is closed."""
    started = time.monotonic()
    ready, _, _ = select.select([descriptor], [], [], seconds)
    chunk = os.read(descriptor, 1 << 16) if ready else b""
    if ready and not chunk:
        time.sleep(max(0.0, started + seconds - time.monotonic()))
    return chunk


def _in_words(code: int) -> str:
    if code >= 0:
        return f"the process ended with exit code {code}"
    try:
        return f"the process died ({signal.Signals(-code).name})"
    except ValueError:
        return f"the process died (signal {-code})"
