"""Studies in processes of their own that are interrupted, killed and starved for real."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import STUDY, write_study

# a budget that is counted: a measured one could fail for what else runs on the machine
WIDE = (
    STUDY.replace("{choice: [4, 6, 8]}", "{range: [4, 12]}")
    .replace("trials: 3", "trials: 6")
    .replace("{train: 1}", "{params: 100000000}")
)
PATIENCE = 120.0


def start(*arguments: str, preexec: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    # a shell's background job ignores SIGINT, and so would what is started here
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "search", "run", "wide.yaml", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=preexec,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def records() -> dict[int, dict[str, Any]]:
    """The whole lines of trials.jsonl, which a dying process may have torn."""
    file = Path("runs/tiny/trials.jsonl")
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    found = [json.loads(line) for line in lines]
    assert len({record["number"] for record in found}) == len(found)
    return {record["number"]: record for record in found}


def complete(state: str = "COMPLETE") -> dict[int, dict[str, Any]]:
    return {number: record for number, record in records().items() if record["state"] == state}


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _study() -> None:
    write_study(WIDE, "wide.yaml")


def test_ctrl_c_stops_cleanly_says_how_to_go_on_and_loses_nothing() -> None:
    process = start()
    wait_for(lambda: len(complete()) >= 2, process)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    before = complete()
    assert code == 130
    assert "stopping at the next step" in err
    assert "To resume: search run wide.yaml" in err
    assert "Traceback" not in err
    assert json.loads(Path("runs/tiny/summary.json").read_text())["outcome"] == "interrupted"
    code, out, err = finish(start("--json"))
    assert code == 0, err
    summary = json.loads(out)
    assert summary["trials"]["counted"] == 6
    assert before.items() <= complete().items()


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once_and_the_study_still_goes_on() -> None:
    process = start()
    wait_for(lambda: len(complete()) >= 1, process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "stopping at the next step" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert "Traceback" not in err
    before = complete()
    code, out, err = finish(start("--json"))
    assert code == 0, err
    assert json.loads(out)["trials"]["counted"] == 6
    assert before.items() <= complete().items()


def kill_and_go_on(kills: int) -> None:
    """Kills the study at different moments, then lets it end; checks what is on record."""
    on_record: dict[int, dict[str, Any]] = {}
    for kill in range(kills):
        process = start()
        enough = min(5, len(complete()) + 1)
        wait_for(lambda enough=enough: len(complete()) >= enough, process)
        time.sleep(0.17 * kill % 1.3)  # another phase of the trial each time
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert on_record.items() <= complete().items()
        on_record = complete()
    code, out, err = finish(start("--json"))
    assert code == 0, err
    assert json.loads(out)["trials"]["counted"] == 6
    assert on_record.items() <= complete().items()
    digests = [record["digest"] for record in complete().values()]
    assert len(set(digests)) == len(digests) == 6


@pytest.mark.slow
def test_a_study_that_is_killed_again_and_again_ends_with_every_trial_once() -> None:
    kill_and_go_on(kills=4)


@pytest.mark.parametrize(
    ("kilobytes", "width"),
    [
        pytest.param(8, 4, marks=pytest.mark.slow),
        pytest.param(100, 200, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_ends_the_run_in_words_and_the_study_stays_readable(
    kilobytes: int, width: int
) -> None:
    """With narrow backbones it is the journal that finds no room, with wide ones the weights."""
    write_study(WIDE.replace("[4, 12]", f"[{width}, {width + 8}]"), "wide.yaml")
    limit = kilobytes * 1024

    def fill_up() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    code, _, err = finish(start(preexec=fill_up))
    assert code == 4, err
    assert "File too large" in err
    assert "finished candidates are kept in runs/tiny. To resume then: search run wide.yaml" in err
    assert "Traceback" not in err
    before = complete()
    code, out, err = finish(start("--json"))
    assert code == 0, err
    assert json.loads(out)["trials"]["counted"] == 6
    assert before.items() <= complete().items()


def obey_permissions() -> None:
    """Takes root's right to pass over permissions (CAP_DAC_OVERRIDE) from what is started."""
    if os.geteuid() == 0:
        drop_from_bounding_set, override = 24, 1
        assert ctypes.CDLL(None).prctl(drop_from_bounding_set, override, 0, 0, 0) == 0


def test_a_folder_that_may_not_be_written_is_named() -> None:
    locked = Path("locked").resolve()
    locked.mkdir()
    locked.chmod(0o555)
    code, _, err = finish(start("--out", str(locked), preexec=obey_permissions))
    assert code == 4, err
    assert f"error: {locked}/tiny: Permission denied" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_ctrl_c_while_libraries_are_imported_says_how_to_go_on() -> None:
    process = start()
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130
    assert "To resume: search run wide.yaml" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_process_that_ends_in_the_background_ends_on_sigterm_too() -> None:
    process = start()
    wait_for(lambda: len(complete()) >= 1, process)
    process.terminate()
    code, _, err = finish(process)
    assert code == 130
    assert "To resume" in err
