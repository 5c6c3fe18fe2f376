"""The loop of a study: propose, evaluate, record, until enough has been tried."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from optuna.trial import Trial
from torch import Tensor

from metaformer.spec import BackboneSpec
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.faults import guarded
from search.records import BaselineRecord, TrialRecord, TrialState
from search.run_folder import RunFolder
from search.strategy import SpaceExhausted, Strategy
from search.summary import Outcome, best_of
from search.trial_store import MAX_ATTEMPTS, TrialStore

MAX_FAILURES_RUNNING = 5
MAX_UNMEASURED_RUNNING = 3  # candidates that others at work on the device left without a figure


class Observer(Protocol):
    """Hears how a study goes on."""

    def note(self, text: str) -> None: ...

    def trial_started(self, number: int, done: int, total: int) -> None: ...

    def phase(self, text: str) -> None: ...

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None: ...

    def baseline_finished(self, record: BaselineRecord) -> None: ...


class Evaluator(Protocol):
    """Evaluates candidates and baselines, here or in another process; fills in their records."""

    def evaluate(self, spec: BackboneSpec, record: TrialRecord) -> dict[str, Tensor] | None:
        """The trained weights where the candidate completed."""
        ...

    def train(self, spec: BackboneSpec, record: TrialRecord) -> dict[str, Tensor] | None: ...

    def compare(self, record: BaselineRecord) -> None: ...

    def close(self) -> None: ...


@dataclass
class SearchLoop:
    """Tries candidates one after the other. `should_stop` is asked between them; within one,
    the evaluator's own check raises Interrupted. `summarise` is called after each. A failure that
    is `explained` does not count towards those that end a study."""

    store: TrialStore
    strategy: Strategy
    evaluator: Evaluator
    folder: RunFolder
    observer: Observer
    should_stop: Callable[[], bool]
    summarise: Callable[[Outcome], None]
    explained: Callable[[TrialRecord], bool] = lambda _record: False

    def run(self, total: int, time_limit: float | None) -> Outcome:
        """Goes on until `total` trials count, no candidate begun after `time_limit` seconds."""
        start = time.monotonic()
        failures = unmeasured = 0
        while self.store.counted < total:
            if self.should_stop():
                return Outcome.INTERRUPTED
            if time_limit is not None and time.monotonic() - start >= time_limit:
                return Outcome.TIME_LIMIT
            try:
                record = self._one_trial(total)
            except SpaceExhausted:
                return Outcome.SPACE_EXHAUSTED
            unexplained = record.state is TrialState.FAILED and not self.explained(record)
            failures = failures + 1 if unexplained else 0
            if failures >= MAX_FAILURES_RUNNING:
                return Outcome.TOO_MANY_FAILURES
            interrupted = record.state is TrialState.INTERRUPTED and not self.should_stop()
            unmeasured = unmeasured + 1 if interrupted else 0
            if unmeasured >= MAX_UNMEASURED_RUNNING:
                return Outcome.MACHINE_BUSY
        return Outcome.DONE

    def restore_best(self) -> None:
        """Makes best.yaml and best.safetensors those of the best on record.

        Where its weights are gone it is trained again: a training follows from the spec, the
        data and the seed.
        """
        best = best_of(self.store.records)
        if self.folder.settle_best(best) or best is None:
            return
        self.observer.note(f"the weights of trial {best.number} are gone; training it again")
        spec = BackboneSpec.model_validate(best.spec)
        record = TrialRecord(number=best.number, state=best.state)
        weights = self._guarded(record, lambda: self.evaluator.train(spec, record))
        if record.state is TrialState.INTERRUPTED:
            raise Interrupted
        if weights is None:
            self.observer.note(f"training it again failed: {record.reason}")
            return
        if record.accuracy != best.accuracy:
            self.observer.note(
                f"trained again it has accuracy {record.accuracy}, on record {best.accuracy}"
            )
        self.folder.keep_weights(best.number, spec.digest, weights)
        self.folder.settle_best(best)

    def _one_trial(self, total: int) -> TrialRecord:
        trial, spec = self.strategy.propose()
        self.observer.trial_started(trial.number, self.store.counted, total)
        record = TrialRecord(number=trial.number, state=TrialState.FAILED)
        try:
            weights = self._guarded(record, lambda: self.evaluator.evaluate(spec, record))
        except (KeyboardInterrupt, UsageError, EnvironmentProblem) as error:
            # not the candidate's doing: it is tried again
            record.state, record.reason = TrialState.INTERRUPTED, str(error) or "stopped at once"
            self.store.enqueue_again(trial, died=False)
            self.store.finish(trial, record)
            raise
        if record.state is TrialState.INTERRUPTED:
            self.store.enqueue_again(trial, died=False)
        if record.state is TrialState.LOST and not self.store.enqueue_again(trial, died=True):
            record.state = TrialState.FAILED
            record.reason += f", as {MAX_ATTEMPTS - 1} times before"
        self._finish(trial, record, weights)
        best = best_of(self.store.records)
        self.folder.settle_best(best)
        self.summarise(Outcome.RUNNING)
        self.observer.trial_finished(record, best)
        return record

    def _finish(self, trial: Trial, record: TrialRecord, weights: dict[str, Tensor] | None) -> None:
        """Keeps the weights of a new best, and puts the trial on record whether that worked or not:
        lost weights can be trained again."""
        trouble: OSError | None = None
        before = best_of(self.store.records)
        if weights is not None and best_of([*([before] if before else []), record]) is record:
            try:
                self.folder.keep_weights(record.number, str(record.digest), weights)
            except OSError as error:
                trouble = error
        self.store.finish(trial, record)
        if trouble is not None:
            raise trouble

    def _guarded(
        self, record: TrialRecord, evaluate: Callable[[], dict[str, Tensor] | None]
    ) -> dict[str, Tensor] | None:
        return guarded(record, evaluate, self.folder.log_error)
