from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import optuna
import pytest

from search.errors import EnvironmentProblem
from search.storage.journal import exclusive, open_journal, repair_tail

optuna.logging.set_verbosity(optuna.logging.ERROR)


def study_at(path: Path) -> optuna.Study:
    return optuna.create_study(
        study_name="s", storage=open_journal(path), direction="maximize", load_if_exists=True
    )


def journal_of(path: Path, trials: int) -> Path:
    study = study_at(path)
    for number in range(trials):
        trial = study.ask()
        trial.suggest_int("x", 0, 10)
        trial.set_constraint("throughput.train", -0.1)
        trial.set_user_attr("record", json.dumps({"number": number}))
        study.tell(trial, float(number))
    return path


def test_a_journal_cut_anywhere_in_its_last_two_records_opens_and_goes_on(tmp_path: Path) -> None:
    """At every byte offset: what was whole before is there, and the next trial is appended."""
    whole = journal_of(tmp_path / "whole.log", 3).read_bytes()
    starts = [0, *(i + 1 for i, byte in enumerate(whole) if byte == 10)]
    second_last = starts[-3]
    cut_file = tmp_path / "cut.log"
    for size in range(second_last, len(whole) + 1):
        cut_file.write_bytes(whole[:size])
        study = study_at(cut_file)
        finished = [t for t in study.get_trials() if t.state.is_finished()]
        assert len(finished) == (3 if size == len(whole) else 2), size
        assert [t.value for t in finished] == [0.0, 1.0, 2.0][: len(finished)]
        number = study.ask().number
        study.tell(number, 9.0)
        assert study_at(cut_file).get_trials()[number].value == 9.0


def test_without_the_repair_optuna_cannot_append(tmp_path: Path) -> None:
    """What the repair is for; when this fails, Optuna has learned it and the repair may go."""
    file = journal_of(tmp_path / "j.log", 2)
    file.write_bytes(file.read_bytes()[:-5])
    backend = optuna.storages.journal.JournalFileBackend(str(file))

    def go_on() -> None:
        study = optuna.load_study(study_name="s", storage=optuna.storages.JournalStorage(backend))
        study.ask()
        study.ask()

    with pytest.raises((AttributeError, ValueError, KeyError)):
        go_on()


@pytest.mark.parametrize("tail", [b"{", b'{"op_code": 4', b"\x00\x00\x00", b"nonsense\n", b"3\n"])
def test_a_torn_tail_is_cut_off_and_counted(tmp_path: Path, tail: bytes) -> None:
    file = journal_of(tmp_path / "j.log", 1)
    whole = file.read_bytes()
    file.write_bytes(whole + tail)
    assert repair_tail(file) == len(tail)
    assert file.read_bytes() == whole
    assert repair_tail(file) == 0
    copies = [copy.read_bytes() for copy in tmp_path.glob("*.bak")]
    # a kill leaves no newline; whatever has one may hold what can still be read
    assert copies == ([whole + tail] if tail.endswith(b"\n") else [])


def test_a_broken_record_in_the_middle_is_named_and_nothing_is_cut(tmp_path: Path) -> None:
    file = journal_of(tmp_path / "j.log", 1)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1][:-4] + b"\n"
    file.write_bytes(b"".join(lines))
    with pytest.raises(EnvironmentProblem, match="record 2 is broken and others follow it"):
        open_journal(file)
    assert file.read_bytes() == b"".join(lines)


def test_a_missing_journal_is_made(tmp_path: Path) -> None:
    assert repair_tail(tmp_path / "none.log") == 0
    assert len(study_at(tmp_path / "new.log").get_trials()) == 0


HOLD = """
import sys, time
from pathlib import Path
from search.storage.journal import FileLock
FileLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
time.sleep(600)
"""


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    """Optuna's own lock file would make the next process wait for half a minute."""
    lock = tmp_path / "j.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(EnvironmentProblem, match="busy"), exclusive(lock, "busy"):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with exclusive(lock, "busy"):
        pass


def test_a_study_can_be_copied_by_its_journal(tmp_path: Path) -> None:
    file = journal_of(tmp_path / "a.log", 2)
    shutil.copy(file, tmp_path / "b.log")
    assert len(study_at(tmp_path / "b.log").get_trials()) == 2


def test_a_lock_file_that_was_taken_away_excludes_nobody_and_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, take = tmp_path / "study.lock", fcntl.flock

    def taken_away_before(descriptor: int, operation: int) -> None:
        lock.unlink()
        take(descriptor, operation)

    monkeypatch.setattr("search.storage.journal.fcntl.flock", taken_away_before)
    with (
        pytest.raises(EnvironmentProblem, match="in use"),
        exclusive(lock, "in use"),
    ):
        pass


def test_who_only_looks_at_a_lock_does_not_keep_another_from_it(tmp_path: Path) -> None:
    lock = tmp_path / "study.lock"
    lock.touch()
    with lock.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.1, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        with exclusive(lock, "another has it"):
            pass
