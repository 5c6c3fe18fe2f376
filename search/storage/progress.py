"""Progress callbacks of a study."""

from __future__ import annotations

from collections.abc import Iterable
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


class Callback:
    """Base class of callbacks for `search.run`; override the methods that are of interest.

    What a method raises ends the study; finished trials are kept.
    """

    def note(self, text: str) -> None:
        """Receive a message for the user, such as who holds the device."""

    def trial_started(self, number: int, done: int, total: int) -> None:
        """Receive the number of a trial that starts; `done` of `total` trials are finished."""

    def phase(self, text: str, number: int | None = None) -> None:
        """Receive what trial `number` does now: count, measure, train."""

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None:
        """Receive the record of a trial, and the best record so far."""

    def baseline_finished(self, record: BaselineRecord) -> None:
        """Receive the record of a baseline."""


class Callbacks(Callback):
    """Calls each of several callbacks, in their order."""

    def __init__(self, callbacks: Iterable[Observer]) -> None:
        self._callbacks = tuple(callbacks)

    def note(self, text: str) -> None:
        for callback in self._callbacks:
            callback.note(text)

    def trial_started(self, number: int, done: int, total: int) -> None:
        for callback in self._callbacks:
            callback.trial_started(number, done, total)

    def phase(self, text: str, number: int | None = None) -> None:
        for callback in self._callbacks:
            callback.phase(text, number)

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None:
        for callback in self._callbacks:
            callback.trial_finished(record, best)

    def baseline_finished(self, record: BaselineRecord) -> None:
        for callback in self._callbacks:
            callback.baseline_finished(record)
