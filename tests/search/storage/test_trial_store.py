from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import torch
from safetensors.torch import save_file

from search.errors import EnvironmentProblem
from search.storage.records import TrialRecord, TrialState
from search.storage.run_folder import RunFolder
from search.storage.trial_store import MAX_ABANDONED, MAX_ATTEMPTS, REFUTED, TrialStore

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "study")
    folder.create()
    return folder


def ask(store: TrialStore) -> optuna.trial.Trial:
    trial = store.study.ask()
    trial.suggest_int("x", 0, 1000)
    return trial


def record_of(trial: optuna.trial.Trial, state: TrialState, **fields: object) -> TrialRecord:
    return TrialRecord(number=trial.number, state=state, **fields)  # type: ignore[arg-type]


def complete(store: TrialStore, accuracy: float = 0.5) -> TrialRecord:
    trial = ask(store)
    score = {"metric": "accuracy", "value": accuracy, "epochs": 1, "split": "validation"}
    record = record_of(
        trial, TrialState.COMPLETE, score=score, constraints={"throughput.train": -0.2}
    )
    store.finish(trial, record)
    return record


def test_a_finished_trial_is_in_the_journal_and_in_the_lines(folder: RunFolder) -> None:
    store = TrialStore("s", folder)
    complete(store, 0.75)
    assert folder.read_trials()[0]["score"]["value"] == 0.75
    again = TrialStore("s", folder)
    assert [record.accuracy for record in again.records] == [0.75]
    assert again.study.best_value == 0.75


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (TrialState.REJECTED, optuna.trial.TrialState.PRUNED),
        (TrialState.OOM, optuna.trial.TrialState.PRUNED),
        (TrialState.FAILED, optuna.trial.TrialState.FAIL),
        (TrialState.INTERRUPTED, optuna.trial.TrialState.FAIL),
    ],
)
def test_optuna_learns_of_rejections_and_not_of_failures(
    folder: RunFolder, state: TrialState, expected: optuna.trial.TrialState
) -> None:
    store = TrialStore("s", folder)
    trial = ask(store)
    store.finish(trial, record_of(trial, state, constraints={"throughput.train": 0.3}))
    frozen = store.study.get_trials()[0]
    assert frozen.state is expected
    assert frozen.constraints == {"throughput.train": 0.3}


def test_interrupted_and_lost_trials_do_not_count_towards_the_total(folder: RunFolder) -> None:
    store = TrialStore("s", folder)
    for state in TrialState:
        if state not in (TrialState.COMPLETE, TrialState.LOST):
            trial = ask(store)
            store.finish(trial, record_of(trial, state))
    ask(store)  # left running
    again = TrialStore("s", folder)
    assert again.records[-1].state is TrialState.LOST
    assert again.counted == len(TrialState) - 3


def test_a_trial_left_running_is_lost_and_its_candidate_comes_again(folder: RunFolder) -> None:
    store = TrialStore("s", folder)
    value = ask(store).params["x"]
    again = TrialStore("s", folder)
    assert [(r.state, r.reason) for r in again.records] == [(TrialState.LOST, "the process died")]
    assert folder.read_trials()[0]["state"] == "LOST"
    assert ask(again).params["x"] == value


def test_a_candidate_with_which_the_study_dies_again_and_again_is_to_be_given_up(
    folder: RunFolder,
) -> None:
    values = []
    for _ in range(MAX_ABANDONED):
        store = TrialStore("s", folder)
        trial = ask(store)
        values.append(trial.params["x"])
        assert not store.given_up(trial)
    last = TrialStore("s", folder)
    assert {record.state for record in last.records} == {TrialState.LOST}
    trial = ask(last)
    assert {*values, trial.params["x"]} == {values[0]}
    assert last.given_up(trial)


def test_a_death_of_the_study_uses_up_none_of_a_candidates_attempts(folder: RunFolder) -> None:
    for _ in range(MAX_ATTEMPTS):
        store = TrialStore("s", folder)
        trial = ask(store)
    for attempts_left in (True, True, False):
        assert store.enqueue_again(trial, died=True) is attempts_left
        store.finish(trial, record_of(trial, TrialState.LOST))
        trial = ask(store)


def test_a_candidate_that_waited_and_was_only_taken_up_comes_again_whole(
    folder: RunFolder,
) -> None:
    store = TrialStore("s", folder)
    store.study.enqueue_trial({"x": 7, "y": 8})
    trial = store.study.ask()
    trial.suggest_int("x", 0, 1000)  # here its process dies
    again = TrialStore("s", folder).study.ask()
    assert (again.suggest_int("x", 0, 1000), again.suggest_int("y", 0, 1000)) == (7, 8)


def test_a_candidate_that_waits_again_already_is_not_put_there_twice(folder: RunFolder) -> None:
    store = TrialStore("s", folder)
    store.enqueue_again(ask(store), died=False)  # here its process dies
    for _ in range(2):
        waiting = TrialStore("s", folder).study.get_trials(
            deepcopy=False, states=(optuna.trial.TrialState.WAITING,)
        )
        assert len(waiting) == 1


def test_a_duplicate_that_was_not_told_yet_does_not_come_again(folder: RunFolder) -> None:
    ask(TrialStore("s", folder)).set_user_attr("discarded", "duplicate of trial 0")
    again = TrialStore("s", folder)
    assert again.records == []
    assert [trial.state for trial in again.study.get_trials()] == [optuna.trial.TrialState.FAIL]


def test_a_trial_on_record_but_not_told_is_told_on_opening(folder: RunFolder) -> None:
    store = TrialStore("s", folder)
    trial = ask(store)
    score = {"metric": "accuracy", "value": 0.9, "epochs": 1, "split": "validation"}
    record = record_of(trial, TrialState.COMPLETE, score=score)
    trial.set_user_attr("record", json.dumps(record.to_data()))
    again = TrialStore("s", folder)
    assert again.records == [record]
    assert again.study.best_value == 0.9


def test_the_lines_are_made_anew_from_the_journal(folder: RunFolder) -> None:
    store = TrialStore("s", folder)
    for accuracy in (0.1, 0.2):
        complete(store, accuracy)
    whole = folder.trials.read_bytes()
    for damaged in (b"", whole[:-7], whole + b'{"number": 9'):
        folder.trials.write_bytes(damaged)
        TrialStore("s", folder)
        assert folder.trials.read_bytes() == whole
    folder.trials.unlink()
    TrialStore("s", folder)
    assert folder.trials.read_bytes() == whole


def test_a_cut_journal_loses_no_finished_trial_and_counts_none_twice(folder: RunFolder) -> None:
    """Cut at every byte of the last two records of a study of three finished trials."""
    store = TrialStore("s", folder)
    for accuracy in (0.1, 0.2, 0.3):
        complete(store, accuracy)
    whole = folder.journal.read_bytes()
    starts = [0, *(i + 1 for i, byte in enumerate(whole) if byte == 10)]
    for size in range(starts[-3], len(whole) + 1):
        folder.journal.write_bytes(whole[:size])
        folder.trials.unlink(missing_ok=True)  # written after the journal
        again = TrialStore("s", folder)
        on_record = [r.accuracy for r in again.records if r.state is TrialState.COMPLETE]
        # the third trial is on record once its record, the second last line, is whole
        assert on_record == ([0.1, 0.2, 0.3] if size >= starts[-2] else [0.1, 0.2]), size
        assert [line["number"] for line in folder.read_trials()] == [0, 1, 2]


@pytest.mark.parametrize("cut", ["emptied", "one trial less"])
def test_a_journal_that_lacks_finished_trials_is_refused_and_nothing_is_written(
    folder: RunFolder, cut: str
) -> None:
    store = TrialStore("s", folder)
    complete(store)
    one = folder.journal.read_bytes()
    complete(store)
    folder.journal.write_bytes(one if cut == "one trial less" else b"")
    before = folder.trials.read_bytes()
    with pytest.raises(EnvironmentProblem, match="lacks finished trials: trial"):
        TrialStore("s", folder)
    assert folder.trials.read_bytes() == before


def test_what_only_the_summary_or_the_best_weights_hold_is_missed_too(folder: RunFolder) -> None:
    complete(TrialStore("s", folder))
    folder.trials.unlink()
    folder.journal.write_bytes(b"")
    folder.write_summary({"trials": {"counted": 1}})
    with pytest.raises(EnvironmentProblem, match="1 trials that count in summary.json"):
        TrialStore("s", folder)
    folder.summary.unlink()
    save_file({"w": torch.zeros(1)}, folder.best_weights, metadata={"trial": "0", "digest": "d"})
    with pytest.raises(EnvironmentProblem, match="trial 0 in best.safetensors"):
        TrialStore("s", folder)


def test_damaged_lines_are_made_again_from_the_journal_and_kept_in_a_copy(
    folder: RunFolder,
) -> None:
    complete(TrialStore("s", folder))
    whole = folder.trials.read_bytes()
    damaged = whole.replace(b"0.5", b"0.6", 1)
    folder.trials.write_bytes(damaged)
    TrialStore("s", folder)
    assert folder.trials.read_bytes() == whole
    assert (folder.path / "trials.jsonl.1.bak").read_bytes() == damaged


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('\\"value\\":0.5', '\\"value\\":0.6', "its checksum differs"),
        ('"values":[0.5]', '"values":[0.6]', "its value is 0.6, the accuracy on record 0.5"),
        ('"param_value_internal":', '"param_value_internal":1', "the values of its parameters"),
    ],
)
def test_a_changed_digit_in_the_journal_is_found(
    folder: RunFolder, old: str, new: str, words: str
) -> None:
    complete(TrialStore("s", folder))
    text = folder.journal.read_text()
    assert old in text
    folder.journal.write_text(text.replace(old, new))
    with pytest.raises(EnvironmentProblem, match=f"record of trial 0: .*{words}"):
        TrialStore("s", folder)


def test_a_snapshot_by_hard_links_is_left_as_it_is(folder: RunFolder) -> None:
    complete(TrialStore("s", folder))
    snapshot = RunFolder(folder.path.parent / "snapshot")
    snapshot.create()
    for file in folder.path.iterdir():
        (snapshot.path / file.name).hardlink_to(file)
    before = {file.name: file.read_bytes() for file in snapshot.path.iterdir()}
    complete(TrialStore("s", folder))
    assert {file.name: file.read_bytes() for file in snapshot.path.iterdir()} == before
    assert len(TrialStore("s", folder).records) == 2
    assert len(TrialStore("s", snapshot).records) == 1


def test_a_duplicate_leaves_no_record(folder: RunFolder) -> None:
    store = TrialStore("s", folder)
    complete(store)
    store.discard(ask(store), "duplicate of trial 0")
    assert [record.number for record in TrialStore("s", folder).records] == [0]


def test_the_keys_of_a_line_are_those_of_the_golden_file(folder: RunFolder) -> None:
    complete(TrialStore("s", folder))
    golden = json.loads((GOLDEN / "trial.json").read_text())
    assert list(folder.read_trials()[0]) == golden["keys"]
    assert [state.value for state in TrialState] == golden["states"]


def spoil_a_record(text: str) -> str:
    """As a later version may write it."""
    return text.replace('\\"reason\\"', '\\"rationale\\"')


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_a_record, "the record of trial 0: rationale: unknown key"),
        (lambda text: text + "{}\n", "a line of it: KeyError: 'op_code'"),
    ],
)
def test_a_journal_that_another_version_wrote_is_one_message(
    folder: RunFolder, spoil: Callable[[str], str], words: str
) -> None:
    store = TrialStore("s", folder)
    trial = ask(store)
    store.finish(trial, record_of(trial, TrialState.REJECTED))
    text = folder.journal.read_text()
    folder.journal.write_text(spoil(text))
    assert folder.journal.read_text() != text
    with pytest.raises(EnvironmentProblem, match=f"journal.log: cannot read {words}"):
        TrialStore("s", folder)


def measure_again(store: TrialStore, number: int, state: TrialState, **fields: object) -> None:
    """Measure trial `number` again, as the end of a study does."""
    store.enqueue_confirmation(number)
    trial = ask(store)
    store.finish(trial, record_of(trial, state, confirms=number, **fields))


@pytest.mark.parametrize(
    ("state", "constraints", "excess"),
    [
        (TrialState.REJECTED, {"throughput.train": 0.02, "params": -1.0}, 0.02),
        (TrialState.REJECTED, {"throughput.train": 0.25, "throughput.infer": 0.5}, 0.75),
        (TrialState.OOM, {}, 10.0),
        (TrialState.FAILED, {"throughput.train": -0.1}, 10.0),
        (TrialState.TIMEOUT, {}, 10.0),
    ],
)
def test_a_refuted_best_is_not_optunas_best_and_the_journal_only_grows(
    folder: RunFolder, state: TrialState, constraints: dict[str, float], excess: float
) -> None:
    store = TrialStore("s", folder)
    for accuracy in (0.5, 0.9, 0.7):
        complete(store, accuracy)
    store.study.set_user_attr("note", "kept")
    before, journal = store.study.get_trials(), folder.journal.read_bytes()
    measure_again(store, 1, state, constraints=constraints)
    assert folder.journal.read_bytes().startswith(journal)
    lines, again = folder.trials.read_bytes(), TrialStore("s", folder)
    assert folder.trials.read_bytes() == lines
    for study in (store.study, again.study):
        assert (study.best_trial.number, study.best_value) == (2, 0.7)
        assert study.user_attrs == {"note": "kept"}
        trials = study.get_trials()
        assert trials[1].constraints == {"throughput.train": -0.2, REFUTED: excess}
        for old, new in zip(before, trials, strict=False):
            assert (old.number, old.state, old.values, old.params) == (
                new.number, new.state, new.values, new.params,
            )  # fmt: skip
            assert (old.datetime_complete, old.user_attrs) == (
                new.datetime_complete, new.user_attrs,
            )  # fmt: skip
    assert complete(again, 0.95).number == 4


def test_a_best_that_was_confirmed_or_not_measured_stays_optunas_best(folder: RunFolder) -> None:
    store = TrialStore("s", folder)
    complete(store, 0.9)
    measure_again(store, 0, TrialState.INTERRUPTED)
    measure_again(store, 0, TrialState.COMPLETE)
    assert store.study.best_trial.number == 0
    assert REFUTED not in store.study.trials[0].constraints


def test_each_of_several_refuted_trials_is_marked_once_though_others_wait(
    folder: RunFolder,
) -> None:
    store = TrialStore("s", folder)
    for accuracy in (0.5, 0.9, 0.7):
        complete(store, accuracy)
    store.study.enqueue_trial({"x": 7})
    waiting = ask(store)  # under way next to the measurement
    measure_again(store, 1, TrialState.REJECTED, constraints={"throughput.train": 0.1})
    assert store.study.best_trial.number == 1  # not yet: a trial is running
    store.finish(waiting, record_of(waiting, TrialState.REJECTED))
    assert store.study.best_trial.number == 2
    store.study.enqueue_trial({"x": 8})
    journal = folder.journal.read_bytes()
    TrialStore("s", folder)
    assert folder.journal.read_bytes().startswith(journal)
    assert b'"op_code":1,' not in folder.journal.read_bytes()[len(journal) :]  # none deleted
    assert ask(store).params == {"x": 8}


def test_a_process_that_is_killed_while_it_marks_a_refuted_trial_loses_nothing(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TrialStore("s", folder)
    for accuracy in (0.9, 0.7):
        complete(store, accuracy)

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("search.storage.trial_store._create_again", killed)
        with pytest.raises(KeyboardInterrupt):
            measure_again(store, 0, TrialState.REJECTED, constraints={"throughput.train": 0.1})
    again = TrialStore("s", folder)
    assert [record.number for record in again.records] == [0, 1, 2]
    assert again.study.best_trial.number == 1
    assert not list(folder.path.glob("*.partial"))
