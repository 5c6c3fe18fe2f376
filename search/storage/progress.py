"""Progress callbacks of a study."""

from __future__ import annotations

from typing import Protocol

from search.storage.records import BaselineRecord, TrialRecord


class Observer(Protocol):
    """Callbacks of a running study. A phase belongs to the trial `number`, or to the study
    itself."""

    def note(self, text: str) -> None: ...

    def trial_started(self, number: int, done: int, total: int) -> None: ...

    def phase(self, text: str, number: int | None = None) -> None: ...

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None: ...

    def baseline_finished(self, record: BaselineRecord) -> None: ...
