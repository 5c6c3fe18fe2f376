"""Candidates evaluated in worker processes, several at a time; answers come as they are ready."""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metaformer.spec import BackboneSpec
from search.errors import Interrupted
from search.storage.progress import Observer
from search.storage.records import Record, TrialRecord
from search.workers._slot import WorkerSlot
from search.workers.interface import TaskKind, TaskResult
from search.workers.process import Child

POLLING_SECONDS = 0.1  # between looks at whether to stop, and at the time


@dataclass
class Workers:
    """One candidate in each of `slots`. `check` is called while they work; if it raises
    Interrupted, all are asked to stop, and each trial is answered."""

    slots: Sequence[WorkerSlot]
    check: Callable[[], None]

    @property
    def free(self) -> int:
        """Number of candidates that can be submitted now."""
        return sum(slot.is_free for slot in self.slots)

    def submit(self, do: TaskKind, spec: BackboneSpec | None, record: Record) -> None:
        next(slot for slot in self.slots if slot.is_free).give(do, spec, record)

    def next_answer(self) -> TaskResult:
        """Waits for the next that is done, of those submitted."""
        while True:
            busy = [slot for slot in self.slots if not slot.is_free]
            assert busy, "nothing was submitted"
            for slot in busy if self._is_to_stop() else ():
                if (answer := slot.stop()) is not None:
                    return answer
            select.select(busy, [], [], POLLING_SECONDS)
            for slot in busy:
                if (answer := slot.hear()) is not None:
                    return answer

    def close(self) -> None:
        """Ends all workers."""
        for slot in self.slots:
            slot.clear()

    def _is_to_stop(self) -> bool:
        try:
            self.check()
        except Interrupted:
            return True
        return False


def in_processes(
    starts: Sequence[Callable[[], Child]],
    observer: Observer,
    *,
    log_error: Callable[[str, str], None],
    check: Callable[[], None],
    trial_seconds: float | None,
) -> Workers:
    """A worker for each of `starts`, which begin one. What several say is told by their trials."""

    def note(record: Record, text: str) -> None:
        observer.note(f"{record.title}: {text}" if len(starts) > 1 else text)

    def phase(record: Record, text: str) -> None:
        observer.phase(text, record.number if isinstance(record, TrialRecord) else None)

    return Workers(
        [WorkerSlot(start, phase, note, log_error, trial_seconds) for start in starts], check
    )
