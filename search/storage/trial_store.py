"""The trials of a study: Optuna's journal is their source, `trials.jsonl` is made from it.

A trial's constraints and its record go into the journal before the trial is finished there, so
that at any moment the trial is either on record as a whole or counts as never having run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, create_trial
from optuna.trial import TrialState as OptunaState

from search.errors import EnvironmentProblem
from search.storage.journal import extended, open_journal
from search.storage.records import NOT_BUILDABLE, TrialRecord, TrialState, refutations
from search.storage.run_folder import RunFolder

MAX_ATTEMPTS = 3  # of a candidate whose own process died
MAX_ABANDONED = 10  # times that the study's process died while the candidate was under way
_RECORD = "record"
_PARAMS = "params checksum"  # of the values that the candidate was made from
_ATTEMPT = "attempt"
_ABANDONED = "abandoned"
_REPEATS = "repeats"  # the number of the trial that is tried again
_SHOWN = 5  # finished trials that the journal lacks, in a message
REFUTED = "measured again"  # constraint of a trial that was refuted, by how much
_DISCARDED = "discarded"
_CONTINUES, _CONFIRMS = "continues", "confirms"  # the number of an earlier trial

_OPTUNA_STATES = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.REJECTED: OptunaState.PRUNED,  # with its constraint TPE learns from it
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.OOM: OptunaState.PRUNED,
}


@dataclass(frozen=True)
class StoredTrial:
    """A record, and what Optuna has of it: parameters, distributions and constraints."""

    record: TrialRecord
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    constraints: dict[str, float]


class TrialStore:
    """Reads and writes the trials of one study; one process at a time (`RunFolder.lock`)."""

    def __init__(self, name: str, folder: RunFolder) -> None:
        """Opens the store in `folder`: repairs its journal, settles unfinished trials."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._name = name
        self._folder = folder
        try:
            self._open()
        except (EnvironmentProblem, OSError):
            raise
        except Exception as error:  # Optuna raises whatever a damaged line leads it to
            raise _unreadable(folder, f"a line of it: {type(error).__name__}: {error}") from error
        on_record = [self._record_of(trial) for trial in self.study.get_trials(deepcopy=False)]
        require_all_in_journal(folder, [record for record in on_record if record is not None])
        self._settle_running()
        ended = [
            trial for trial in self.study.get_trials(deepcopy=False) if trial.datetime_complete
        ]
        ended.sort(key=attrgetter("datetime_complete"))  # several may have run at a time
        self.records = [record for trial in ended if (record := self._record_of(trial)) is not None]
        folder.write_trials(self.records)
        self._mark_refuted()

    @property
    def counted(self) -> int:
        """Number of trials that count towards the study's total: each candidate once."""
        return sum(record.counts for record in self.records)

    def finish(self, trial: Trial, record: TrialRecord) -> None:
        """Puts the record into the journal, then into `trials.jsonl`."""
        for key, value in record.constraints.items():
            trial.set_constraint(key, value)
        trial.set_user_attr(_PARAMS, _checksum(trial.params))
        trial.set_user_attr(_RECORD, record.to_line())  # last: with it the trial is on record
        self._tell(record)
        self._folder.append_trial(record)
        self.records.append(record)
        self._mark_refuted()

    def stored(self) -> list[StoredTrial]:
        """The final trials, with what Optuna knows of them."""
        known = {trial.number: trial for trial in self.study.get_trials(deepcopy=False)}
        return [
            StoredTrial(record, own.params, own.distributions, own.constraints)
            for record in self.records
            if record.state.is_final
            for own in [known[record.number]]
        ]

    def adopt(self, trial: StoredTrial, numbers: Mapping[int, int]) -> int:
        """Puts a trial of another study on record here, under the next number, which is returned.

        `numbers` are those here of the trials there that it may tell of.
        """
        number, earlier = len(self.study.get_trials(deepcopy=False)), trial.record
        inherited = earlier.inherited
        if inherited is not None:  # whose weights those were is told by their digest too
            inherited = {**inherited, "trial": numbers.get(inherited["trial"])}
        record = replace(
            earlier,
            number=number,
            continues=None if earlier.continues is None else numbers.get(earlier.continues),
            confirms=None if earlier.confirms is None else numbers[earlier.confirms],
            inherited=inherited,
        )
        state = _optuna_state(record)
        adopted = create_trial(
            state=state,
            value=record.accuracy if state is OptunaState.COMPLETE else None,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={_RECORD: record.to_line(), _PARAMS: _checksum(trial.params)},
            constraints=trial.constraints,
        )
        self.study.add_trial(adopted)
        self._folder.append_trial(record)
        self.records.append(record)
        return number

    def discard(self, trial: Trial, reason: str, *, buildable: bool = True) -> None:
        """Ends a trial that is not worth evaluating; it leaves no record and does not count.

        The sampler learns to avoid what is not `buildable`.
        """
        trial.set_user_attr(_DISCARDED, reason)
        if not buildable:
            trial.set_constraint("buildable", NOT_BUILDABLE)
        self.study.tell(trial, state=OptunaState.FAIL if buildable else OptunaState.PRUNED)

    def enqueue_again(self, trial: Trial, *, died: bool) -> bool:
        """Has the same candidate proposed again, unless its process died too often."""
        attempt = int(trial.user_attrs.get(_ATTEMPT, 1)) + died
        if attempt > MAX_ATTEMPTS or _CONFIRMS in trial.user_attrs:
            return False
        self._enqueue(trial, trial.params, attempt, _times_abandoned(trial))
        return True

    def given_up(self, trial: Trial) -> bool:
        """Return whether the study's process died with this candidate too often to try it again."""
        return _times_abandoned(trial) >= MAX_ABANDONED

    def _enqueue(
        self, trial: Trial | FrozenTrial, params: dict[str, Any], attempt: int, abandoned: int
    ) -> None:
        said = {key: value for key, value in trial.user_attrs.items() if key == _CONTINUES}
        counts = {_ATTEMPT: attempt, _ABANDONED: abandoned, _REPEATS: trial.number}
        self.study.enqueue_trial(params, user_attrs={**counts, **said})

    @property
    def some_wait(self) -> bool:
        """True if trials are enqueued, which come before anything new."""
        waiting = self.study.get_trials(deepcopy=False, states=(OptunaState.WAITING,))
        return bool(waiting)

    def enqueue_further(self, number: int) -> None:
        """Has the candidate of trial `number` proposed, to be trained further, unless it is so."""
        waiting = self.study.get_trials(deepcopy=False, states=(OptunaState.WAITING,))
        if not any(trial.user_attrs.get(_CONTINUES) == number for trial in waiting):
            self.study.enqueue_trial(self.params()[number], user_attrs={_CONTINUES: number})

    def enqueue_confirmation(self, number: int) -> None:
        """Has the candidate of trial `number` proposed, to be measured again."""
        self.study.enqueue_trial(self.params()[number], user_attrs={_CONFIRMS: number})

    @property
    def confirmation_waits(self) -> bool:
        """True if what comes next was enqueued to be measured again."""
        waiting = self.study.get_trials(deepcopy=False, states=(OptunaState.WAITING,))
        return bool(waiting) and _CONFIRMS in waiting[0].user_attrs

    def looks_again(self, trial: Trial) -> bool:
        """Return whether `trial` trains further or measures again what was tried before."""
        return _CONTINUES in trial.user_attrs or _CONFIRMS in trial.user_attrs

    def continued_by(self, trial: Trial) -> TrialRecord | None:
        """The record that `trial` continues, if it is such a one."""
        number = trial.user_attrs.get(_CONTINUES)
        return next((r for r in self.records if r.number == number), None)

    def confirmed_by(self, trial: Trial) -> int | None:
        """The number of the trial that `trial` measures again, if it is such a one."""
        number: int | None = trial.user_attrs.get(_CONFIRMS)
        return number

    def params(self) -> dict[int, dict[str, Any]]:
        """The values of each trial, by its number."""
        return {trial.number: trial.params for trial in self.study.get_trials(deepcopy=False)}

    def _mark_refuted(self) -> None:
        """Make trials that were refuted infeasible for Optuna, by a constraint of their own.

        Optuna changes no trial that has ended, so the study is deleted in the journal and created
        again with the same trials under the same numbers. Waits while a trial is running, which
        would lose its place; opening the store makes up for it.
        """
        excess = {again.confirms: _excess(again) for again in refutations(self.records)}
        trials = self.study.get_trials(deepcopy=False)
        marked = {trial.number for trial in trials if REFUTED in trial.constraints}
        running = any(trial.state is OptunaState.RUNNING for trial in trials)
        if running or excess.keys() <= marked:
            return
        with extended(self._folder.journal) as storage:
            _create_again(self._name, storage, excess)
        self._open()

    def _open(self) -> None:
        self.study = optuna.create_study(
            study_name=self._name,
            storage=open_journal(self._folder.journal),
            direction="maximize",
            load_if_exists=True,
        )

    def _tell(self, record: TrialRecord) -> None:
        state = _optuna_state(record)
        value = record.accuracy if state is OptunaState.COMPLETE else None
        self.study.tell(record.number, value, state=state)

    def _settle_running(self) -> None:
        """Finishes what a dead process left running: told if it was on record, else lost."""
        trials = self.study.get_trials(deepcopy=False)
        repeated = {trial.user_attrs.get(_REPEATS) for trial in trials}
        for trial in (trial for trial in trials if trial.state is OptunaState.RUNNING):
            record = self._record_of(trial)
            if record is not None:
                self._tell(record)
                continue
            if trial.number not in repeated and _DISCARDED not in trial.user_attrs:
                self._enqueue_abandoned(trial)
            self.study.tell(trial.number, state=OptunaState.FAIL)

    def _record_of(self, trial: FrozenTrial) -> TrialRecord | None:
        """Record of `trial`; a failed trial without a record was lost with its process.

        EnvironmentProblem if the record cannot be read.
        """
        text = trial.user_attrs.get(_RECORD)
        if text is not None:
            try:
                return _read_record(text, trial)
            except (TypeError, ValueError) as error:
                what = f"the record of trial {trial.number}: {error}"
                raise _unreadable(self._folder, what) from error
        if trial.state is not OptunaState.FAIL or _DISCARDED in trial.user_attrs:
            return None
        return TrialRecord(number=trial.number, state=TrialState.LOST, reason="the process died")

    def _enqueue_abandoned(self, trial: FrozenTrial) -> None:
        """Has a candidate proposed again whose trial the study's process left when it died."""
        # it may have died before all values were asked for
        params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        if params and _CONFIRMS not in trial.user_attrs:
            attempt = int(trial.user_attrs.get(_ATTEMPT, 1))
            self._enqueue(trial, params, attempt, _times_abandoned(trial) + 1)


def _create_again(name: str, storage: BaseStorage, excess: Mapping[int | None, float]) -> None:
    """Delete the study in `storage` and create it again with the same trials.

    The trials whose numbers are in `excess` get it as a constraint more.
    """
    old = optuna.load_study(study_name=name, storage=storage)
    trials, own_attrs = old.get_trials(), old.user_attrs
    system_attrs = storage.get_study_system_attrs(storage.get_study_id_from_name(name))
    optuna.delete_study(study_name=name, storage=storage)
    new = optuna.create_study(study_name=name, storage=storage, direction="maximize")
    for key, value in own_attrs.items():
        new.set_user_attr(key, value)
    for key, value in system_attrs.items():
        storage.set_study_system_attr(storage.get_study_id_from_name(name), key, value)
    for trial in trials:
        if trial.number in excess and REFUTED not in trial.constraints:
            trial.set_constraint(REFUTED, excess[trial.number])
        new.add_trial(trial)


def _excess(again: TrialRecord) -> float:
    """Return by how much a second measurement missed; more than 0."""
    return again.violation() or NOT_BUILDABLE


def _read_record(text: str, trial: FrozenTrial) -> TrialRecord:
    """Return the record of `trial` from its text in the journal.

    Raises:
        ValueError: It is damaged, or what Optuna has of the trial is not what it was made from.
    """
    record = TrialRecord.from_line(text)
    if record.number != trial.number:
        raise ValueError(f"it is that of trial {record.number}")
    if trial.user_attrs.get(_PARAMS, _checksum(trial.params)) != _checksum(trial.params):
        raise ValueError("the values of its parameters were changed after they were written")
    written = {name: trial.constraints.get(name) for name in record.constraints}
    if written != record.constraints:
        raise ValueError(f"its constraints are {trial.constraints}, on record {record.constraints}")
    if trial.state is OptunaState.COMPLETE and trial.value != record.accuracy:
        raise ValueError(f"its value is {trial.value}, the accuracy on record {record.accuracy}")
    return record


def _checksum(params: Mapping[str, Any]) -> str:
    text = json.dumps(params, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def require_all_in_journal(folder: RunFolder, records: Sequence[TrialRecord]) -> None:
    """Check that the journal holds every finished trial that the files made from it hold.

    `records` are the journal's.

    Raises:
        EnvironmentProblem: It lacks some: it was emptied, cut, or restored from an old copy.
    """
    known = {record.number: record for record in records if record.state.is_final}
    lacking = [
        f"trial {record.number} in {folder.trials.name}"
        for record in folder.whole_trials()
        if record.state.is_final and record != known.get(record.number)
    ]
    counted = folder.counted_in_summary()
    if counted > sum(record.counts for record in records):
        lacking.append(f"{counted} trials that count in {folder.summary.name}")
    trained = folder.trial_of_best_weights()
    if trained is not None and trained not in known:
        lacking.append(f"trial {trained} in {folder.best_weights.name}")
    if lacking:
        shown = ", ".join(lacking[:_SHOWN]) + (", ..." if len(lacking) > _SHOWN else "")
        raise EnvironmentProblem(
            f"{folder.journal}: lacks finished trials: {shown}; it was emptied, cut, or restored "
            "from an older copy. Nothing was written. Restore the journal that has them, or choose "
            "another --out"
        )


def _unreadable(folder: RunFolder, what: str) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"{folder.journal}: cannot read {what}; it was damaged, or written by another version of "
        "metaformer-search. Restore the file from a copy, continue with that version, or choose "
        "another --out"
    )


def _optuna_state(record: TrialRecord) -> OptunaState:
    if record.confirms is not None:  # a measurement alone is no value
        return OptunaState.PRUNED
    return _OPTUNA_STATES.get(record.state, OptunaState.FAIL)


def _times_abandoned(trial: Trial | FrozenTrial) -> int:
    """Number of times the study's process died while the candidate of `trial` was running."""
    return int(trial.user_attrs.get(_ABANDONED, 0))
