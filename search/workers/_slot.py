"""Slot for one worker process and its task; the process is restarted after failures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from safetensors.torch import load

from metaformer.spec import BackboneSpec
from search.errors import EnvironmentProblem
from search.storage.records import Record, TrialState
from search.workers.interface import TaskKind, TaskResult
from search.workers.process import Child, WorkerDied
from search.workers.run_task import STOPPED
from search.workers.worker_main import raise_again

MAX_STARTS = 3  # of workers that die before they have heard of the candidate
GRACE_SECONDS = 10.0  # for a worker to come to its next step and stop there


@dataclass
class _Task:
    """Task of a worker; `begun` once it was sent, `stopping` once it was asked to stop."""

    do: TaskKind
    spec: BackboneSpec | None
    record: Record
    begun: float | None = None
    stopping: float | None = None
    starts: int = 0  # of workers, for this task


@dataclass
class WorkerSlot:
    """`start` begins a worker. `phase`, `note` and `log_error` hear what it says, and of which
    trial. A candidate that takes longer than `trial_seconds` is ended."""

    start: Callable[[], Child]
    phase: Callable[[Record, str], None]
    note: Callable[[Record, str], None]
    log_error: Callable[[str, str], None]
    trial_seconds: float | None = None
    now: Callable[[], float] = time.monotonic
    child: Child | None = field(default=None, init=False)
    _task: _Task | None = field(default=None, init=False)

    @property
    def is_free(self) -> bool:
        return self._task is None

    def fileno(self) -> int:
        """File descriptor that is readable when there is something to `poll`."""
        assert self.child is not None
        return self.child.fileno()

    def give(self, do: TaskKind, spec: BackboneSpec | None, record: Record) -> None:
        """Has the worker do that, once it is ready; a new one if there is none."""
        assert self._task is None
        self._task = _Task(do, spec, record)
        if self.child is None:
            self._start()
        else:
            self._tell()

    def hear(self) -> TaskResult | None:
        """The answer, if it has come; what else the worker has said is passed on.

        UsageError, EnvironmentProblem: of the data or the machine, not of the candidate.
        """
        assert self.child is not None
        assert self._task is not None
        try:
            while (said := self.child.receive(0)) is not None:
                message, weights = said
                if "record" in message:
                    return self._answered(message, weights)
                self._heed(message)
        except WorkerDied as death:
            if self._task.begun is not None:
                return self._ended(TrialState.LOST, f"its process died: {death}")
            self._start_again(death)
        return self._overdue()

    def stop(self) -> TaskResult | None:
        """Asks the worker to stop at its next step; the answer, if it had not begun."""
        assert self._task is not None
        assert self.child is not None
        if self._task.begun is None:
            return self._ended(TrialState.INTERRUPTED, STOPPED)
        if self._task.stopping is None:
            self._task.stopping = self.now()
            self.child.ask_to_stop()
        return None

    def clear(self) -> None:
        """Ends the worker, whatever it does."""
        self._task = None
        if self.child is not None:
            self.child.end()
            self.child = None

    def _start(self) -> None:
        assert self._task is not None
        self._task.starts += 1
        self.phase(self._task.record, "start a worker")
        self.child = self.start()

    def _start_again(self, death: WorkerDied) -> None:
        """In the place of a worker that never heard of the candidate: not the candidate's doing."""
        assert self._task is not None
        assert self.child is not None
        self.child.end()
        self.child = None
        if self._task.starts == MAX_STARTS:
            words = f"a worker died {MAX_STARTS} times before it was ready: {death}"
            raise EnvironmentProblem(words)
        self._start()

    def _tell(self) -> None:
        assert self._task is not None
        assert self.child is not None
        spec, record = self._task.spec, self._task.record.to_data()
        task = {"do": self._task.do, "spec": spec and spec.to_data(), "record": record}
        try:
            self.child.send(task)
        except WorkerDied as death:
            self._start_again(death)
        else:
            self._task.begun = self.now()

    def _heed(self, message: dict[str, Any]) -> None:
        assert self._task is not None
        if "error" in message:
            raise_again(message)
        if "ready" in message:
            self._tell()
        for kind, tell in (("phase", self.phase), ("note", self.note)):
            if kind in message:
                tell(self._task.record, message[kind])

    def _overdue(self) -> TaskResult | None:
        """The answer in the place of a worker that takes too long."""
        assert self._task is not None
        stopping, begun = self._task.stopping, self._task.begun
        if stopping is not None and self.now() - stopping > GRACE_SECONDS:
            return self._ended(TrialState.INTERRUPTED, STOPPED)
        limit = self.trial_seconds
        if limit is not None and begun is not None and self.now() - begun > limit:
            return self._ended(TrialState.TIMEOUT, f"took longer than the {limit:g} s of a trial")
        return None

    def _answered(self, message: dict[str, Any], weights: bytes) -> TaskResult:
        assert self._task is not None
        kind, trace = type(self._task.record), message["traceback"]
        record = kind.from_data(message["record"])
        if trace is not None:
            self.log_error(record.title, trace)
        if trace is not None or record.state is TrialState.OOM:
            self.clear()  # who knows what it left behind
        self._task = None
        return record, load(weights) if weights else None

    def _ended(self, state: TrialState, reason: str) -> TaskResult:
        assert self._task is not None
        record = self._task.record
        record.state, record.reason = state, reason
        self.clear()
        return record, None
