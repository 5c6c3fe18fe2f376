"""The loop of a study: propose, have it evaluated, record, until enough has been tried."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from optuna.trial import Trial

from metaformer.spec import BackboneSpec
from search.bayesopt.history import NUM_FINALISTS
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.scheduling.strategy import SpaceExhausted, Strategy
from search.scheduling.successive_halving import Promotion
from search.scheduling.trial_init import TrialInitializer, new_record
from search.storage.progress import Observer
from search.storage.records import STUDY_DIED, TrialRecord, TrialState, ranked
from search.storage.run_folder import RunFolder
from search.storage.trial_store import MAX_ABANDONED, MAX_ATTEMPTS, TrialStore
from search.study.summary import StudyOutcome, best_of
from search.workers.interface import Executor, Weights

MAX_FAILURES_RUNNING = 5
MAX_UNMEASURED_RUNNING = 3  # candidates that others at work on the device left without a figure


class _UnderWay(NamedTuple):
    """A candidate that is being evaluated, and what is known of it until there is an answer."""

    trial: Trial
    spec: BackboneSpec
    record: TrialRecord


@dataclass
class SearchLoop:
    """Tries candidates, as many at a time as the executor takes. `should_stop` is asked before
    each; those under way the executor ends. `summarise` is called after each. `beginning` says what
    a trial begins with. A failure that is `explained` does not count towards those that end a
    study. The weights of the `num_finalists` best are kept until the best is confirmed."""

    store: TrialStore
    strategy: Strategy
    executor: Executor
    folder: RunFolder
    observer: Observer
    should_stop: Callable[[], bool]
    summarise: Callable[[StudyOutcome], None]
    beginning: TrialInitializer
    explained: Callable[[TrialRecord], bool] = lambda _record: False
    num_finalists: int = NUM_FINALISTS
    _exhausted: bool = field(default=False, init=False)  # nothing new was found at the last look
    _under_way: dict[int, _UnderWay] = field(default_factory=dict, init=False)
    _failures: int = field(default=0, init=False)  # one after the other, as they ended
    _unmeasured: int = field(default=0, init=False)

    def run(self, total: int, time_limit: float | None) -> StudyOutcome:
        """Goes on until `total` trials count, no candidate begun after `time_limit` seconds."""
        end = math.inf if time_limit is None else time.monotonic() + time_limit
        ending: StudyOutcome | None = None  # why no candidate is begun any more
        try:
            while True:
                while ending is None and self.executor.free and self._has_more(total):
                    ending = self._begin(total, end)
                if not self._under_way:
                    return ending or self._ended()
                record = self._next_record()
                self._exhausted = self._exhausted and record.state.is_final  # else tried again
                ending = ending or self._reason_to_end(record)
        except (KeyboardInterrupt, UsageError, EnvironmentProblem) as error:
            self._interrupt_all(str(error) or "stopped at once")
            raise

    def _ended(self) -> StudyOutcome:
        self.folder.forget_checkpoints()
        return StudyOutcome.SPACE_EXHAUSTED if self._exhausted else StudyOutcome.DONE

    def _has_more(self, total: int) -> bool:
        return self._wants_new(total) or self._promotion(total) is not None

    def _wants_new(self, total: int) -> bool:
        return not self._exhausted and self.store.counted + self._num_new < total

    @property
    def _num_new(self) -> int:
        """Of those under way, the candidates that were not tried before."""
        records = (work.record for work in self._under_way.values())
        return sum(r.continues is None and r.confirms is None for r in records)

    def _promotion(self, total: int) -> Promotion | None:
        """Candidate to train further now, if any."""
        if self.beginning.halving is None:
            return None
        under_way = {work.spec.digest for work in self._under_way.values()}
        last = not self._wants_new(total) and not under_way
        return self.beginning.halving.promotion(self.store.records, under_way=under_way, last=last)

    def _begin(self, total: int, end: float) -> StudyOutcome | None:
        """Has one more candidate evaluated, or says why not."""
        if self.should_stop():
            return StudyOutcome.INTERRUPTED
        if time.monotonic() >= end:
            return StudyOutcome.TIME_LIMIT
        pending = {work.spec.digest: number for number, work in self._under_way.items()}
        promotion = self._promotion(total)
        if promotion is not None:
            self.store.enqueue_further(promotion.record.number)
        try:
            trial, spec = self.strategy.propose(pending)
        except SpaceExhausted:
            self._exhausted = True
            return None
        record = self.beginning.record(trial, spec)
        if self.store.given_up(trial):
            record.state = TrialState.FAILED
            record.reason = f"{STUDY_DIED} {MAX_ABANDONED} times while this was under way"
            self._put_on_record(trial, record, None)
            return None
        number, done = trial.number, min(self.store.counted + self._num_new, total - 1)
        self.observer.trial_started(number, done, total)
        self._under_way[number] = _UnderWay(trial, spec, record)
        self.executor.submit(
            "evaluate" if record.confirms is None else "measure_only", spec, record
        )
        return None

    def confirm_best(self) -> None:
        """Measures the best again in a fresh process, and if it misses, the next, three at most.

        What others at work on the device leave unmeasured stays as it is.
        """
        for _ in range(NUM_FINALISTS):
            best = best_of(self.store.records)
            known = {record.confirms for record in self.store.records if record.state.is_final}
            if best is None or best.number in known:
                self.folder.settle_best([best] if best else [])  # the others had their chance
                return
            if self.should_stop():
                return
            if not self.store.confirmation_waits:  # from a process that died
                if self.store.some_wait:
                    return
                self.store.enqueue_confirmation(best.number)
            self.executor.close()
            trial, spec = self.strategy.propose()
            record = self.beginning.record(trial, spec)
            self._under_way[trial.number] = _UnderWay(trial, spec, record)
            self.executor.submit("measure_only", spec, record)
            try:
                record = self._next_record()
            except (KeyboardInterrupt, UsageError, EnvironmentProblem) as error:
                self._interrupt_all(str(error) or "stopped at once")
                raise
            if record.state.is_final and record.state is not TrialState.COMPLETE:
                missed = record.state is TrialState.REJECTED
                what = "missed its budget" if missed else f"ended as {record.state}"
                self.observer.note(
                    f"trial {best.number} {what} when it was measured again: {record.reason}"
                )
                self.restore_best()

    def _reason_to_end(self, record: TrialRecord) -> StudyOutcome | None:
        if record.state.is_final:  # what is tried again has not ended either way
            failed = record.state in (TrialState.FAILED, TrialState.TIMEOUT)
            unexplained = failed and not self.explained(record)
            self._failures = self._failures + 1 if unexplained else 0
        if self._failures >= MAX_FAILURES_RUNNING:
            return StudyOutcome.TOO_MANY_FAILURES
        unmeasured = record.state is TrialState.INTERRUPTED and not self.should_stop()
        self._unmeasured = self._unmeasured + 1 if unmeasured else 0
        return StudyOutcome.MACHINE_BUSY if self._unmeasured >= MAX_UNMEASURED_RUNNING else None

    def restore_best(self) -> None:
        """Makes best.yaml and best.safetensors those of the best on record.

        Where its weights are gone it is trained again: a training follows from the spec, the
        data and the seed.
        """
        best = best_of(self.store.records)
        if self._settle_best() or best is None:
            return
        self.observer.note(f"the weights of trial {best.number} are gone; training it again")
        spec = BackboneSpec.model_validate(best.spec)
        asked = replace(new_record(best.number, spec, best.state), inherited=best.inherited)
        self.executor.submit("train", spec, asked)
        record, weights = self.executor.next_answer()
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
        self._settle_best()

    def _settle_best(self) -> bool:
        return self.folder.settle_best(ranked(self.store.records)[: self.num_finalists])

    def test_best(self) -> float | None:
        """Accuracy of the best on the test split, 0..1; None if there is none, or it has none.

        Interrupted if the user asks to stop meanwhile.
        """
        best = best_of(self.store.records)
        if best is None or not self.folder.holds(best):
            return None
        spec = BackboneSpec.model_validate(best.spec)
        self.executor.submit("test", spec, new_record(best.number, spec, best.state))
        record, _ = self.executor.next_answer()
        if record.state is TrialState.INTERRUPTED:
            raise Interrupted
        if record.accuracy is None:
            self.observer.note(
                f"trial {best.number} has no accuracy on the test split: {record.reason}"
            )
        return record.accuracy

    def _next_record(self) -> TrialRecord:
        """Puts the next candidate that is done on record."""
        record, weights = self.executor.next_answer()
        assert isinstance(record, TrialRecord)
        trial = self._under_way.pop(record.number).trial
        if record.state is TrialState.INTERRUPTED:
            self.store.enqueue_again(trial, died=False)
        again = record.confirms is not None or record.state is not TrialState.LOST
        if not again and not self.store.enqueue_again(trial, died=True):
            record.state = TrialState.FAILED
            record.reason += f", as {MAX_ATTEMPTS - 1} times before"
        self._put_on_record(trial, record, weights)
        return record

    def _put_on_record(self, trial: Trial, record: TrialRecord, weights: Weights | None) -> None:
        """And tells whoever follows the study."""
        self._finish(trial, record, weights)
        self._settle_best()
        self.summarise(StudyOutcome.RUNNING)
        self.observer.trial_finished(record, best_of(self.store.records))

    def _finish(self, trial: Trial, record: TrialRecord, weights: Weights | None) -> None:
        """Keeps the weights of a finalist, and puts the trial on record whether that worked or not:
        lost weights can be trained again."""
        trouble: OSError | None = None
        finalists = ranked([*self.store.records, record])[: self.num_finalists]
        if weights is not None and record in finalists:
            try:
                self.folder.keep_weights(record.number, str(record.digest), weights)
            except OSError as error:
                trouble = error
        if weights is not None and self.beginning.inherit:
            try:
                self.folder.keep_inheritable(str(record.digest), weights)
            except OSError as error:
                trouble = error
        self.store.finish(trial, record)
        if trouble is not None:
            raise trouble

    def _interrupt_all(self, reason: str) -> None:
        """Ends what is under way, which is not the candidates' doing: they are tried again."""
        self.executor.close()
        for trial, _, record in self._under_way.values():
            record.state, record.reason = TrialState.INTERRUPTED, reason
            self.store.enqueue_again(trial, died=False)
            self.store.finish(trial, record)
