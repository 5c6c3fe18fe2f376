"""Workers as real processes: killed, left alone, ended by a mixer's code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from consent import agree
from tiny import BASELINE, STUDY, write_study

LONG = (
    STUDY.replace("trials: 3", "trials: 2")
    .replace("epochs: 1", "epochs: 60")
    .replace("{train: 1}", "{params: 100000000}")
)
DEADLY = """\
import os
from torch import nn


class Deadly(nn.Module):
    def __init__(self, site):
        super().__init__()

    def forward(self, x):
        if not x.is_meta:
            os.abort()
        return x
"""
MEETING = """\
import os, time
from pathlib import Path


def train(model, data, config, context):
    \"\"\"Ends its epoch only where another training has begun and neither has ended.\"\"\"
    here, there = Path("here"), Path("there")
    here.mkdir(exist_ok=True)
    there.mkdir(exist_ok=True)
    (here / str(os.getpid())).touch()
    while len(list(here.iterdir())) < 2:
        context.check()
        time.sleep(0.01)
    (there / str(os.getpid())).touch()
    while len(list(there.iterdir())) < 2:  # neither leaves before both have met
        context.check()
        time.sleep(0.01)
    for _ in context.epochs_left():
        context.end_epoch(model, 0.0, {})
"""
PATIENCE = 400.0  # a worker imports torch and timm, next to whatever else the machine does


@pytest.fixture
def started() -> Any:
    processes: list[subprocess.Popen[str]] = []

    def start(study: str, *arguments: str) -> subprocess.Popen[str]:
        write_study(study, "long.yaml")
        command = [sys.executable, "-m", "search", "run", "long.yaml", *arguments]
        processes.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.terminate()
            process.communicate()


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def workers_of(study: int) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_text()
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if "search.workers.worker_main" in command and (parent == study or study == 0):
            found.append(int(process.name))
    return found


def is_alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def heard(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"never said: {words}")


def trials() -> list[dict[str, Any]]:
    file = Path("runs/tiny/trials.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_trial_an_attempt_and_the_study_nothing(
    started: Callable[[str], subprocess.Popen[str]],
) -> None:
    study = started(LONG.replace("epochs: 60", "epochs: 4"))
    (worker,) = wait_for(lambda: workers_of(study.pid))
    wait_for(lambda: len(trials()) >= 1)
    os.kill(worker, signal.SIGKILL)
    _, err = study.communicate(timeout=PATIENCE)
    assert study.returncode == 0, err
    states = [trial["state"] for trial in trials()]
    assert states.count("COMPLETE") == 2
    lost = [trial["reason"] for trial in trials() if trial["state"] == "LOST"]
    assert lost in ([], ["its process died: SIGKILL"])  # [] where it had answered by then


def test_a_study_that_is_killed_takes_its_worker_with_it(
    started: Callable[[str], subprocess.Popen[str]],
) -> None:
    study = started(LONG)
    (worker,) = wait_for(lambda: workers_of(study.pid))
    wait_for(lambda: Path("runs/tiny/study.yaml").exists())
    study.kill()
    wait_for(lambda: not is_alive(worker))


@pytest.mark.slow
def test_a_mixer_that_ends_its_process_fails_and_the_study_goes_on(
    started: Callable[[str], subprocess.Popen[str]],
) -> None:
    Path("deadly.py").write_text(DEADLY)
    Path("plugins.toml").write_text('schema = 1\n[local]\ndeadly = "deadly.py:Deadly"\n')
    agree()
    text = LONG.replace("epochs: 60", "epochs: 1")
    text = text.replace("[identity, pooling]", "[local/deadly, pooling]").replace(
        "{choice: [4, 6, 8]}", "4"
    )
    assert "local/deadly" in text
    study = started(text.replace("trials: 2", "trials: 4"))
    _, err = study.communicate(timeout=PATIENCE)
    assert study.returncode == 0, err
    deadly = [t for t in trials() if t["spec"]["stages"][0]["mixer"] == "local/deadly"]
    assert [t["state"] for t in deadly] == ["LOST", "LOST", "FAILED"]
    assert deadly[-1]["reason"] == "its process died: SIGABRT, as 2 times before"
    assert any(t["state"] == "COMPLETE" for t in trials())


@pytest.mark.slow
def test_two_workers_train_beside_each_other(
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    Path("meeting.py").write_text(MEETING)
    Path("plugins.toml").write_text('schema = 1\n[trainers]\nmeeting = "meeting.py:train"\n')
    agree()
    text = LONG.replace("epochs: 60", "epochs: 1, trainer: local/meeting")
    study = started(text, "--workers", "2")
    _, err = study.communicate(timeout=PATIENCE)
    assert study.returncode == 0, err
    assert [trial["state"] for trial in trials()] == ["COMPLETE", "COMPLETE"]
    assert len(list(Path("here").iterdir())) == 2  # processes


@pytest.mark.slow
def test_of_two_workers_one_that_is_killed_costs_only_its_own_trial_an_attempt(
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    text = LONG.replace("trials: 2", "trials: 4").replace("epochs: 60", "epochs: 20")
    study = started(text, "--workers", "2")
    first, _ = wait_for(lambda: len(found := workers_of(study.pid)) == 2 and found)
    wait_for(lambda: len(list(Path("runs/tiny").glob("checkpoints/*.pt"))) == 2)  # both train
    os.kill(first, signal.SIGKILL)
    _, err = study.communicate(timeout=PATIENCE)
    assert study.returncode == 0, err
    states = [trial["state"] for trial in trials()]
    assert sorted(states) == ["COMPLETE"] * 4 + ["LOST"]
    (lost,) = [trial for trial in trials() if trial["state"] == "LOST"]
    assert lost["reason"] == "its process died: SIGKILL"
    digests = [trial["digest"] for trial in trials() if trial["state"] == "COMPLETE"]
    assert lost["digest"] in digests
    assert len(set(digests)) == 4


@pytest.mark.slow
def test_ctrl_c_stops_two_workers_at_their_next_step_and_the_study_goes_on_with_one(
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    study = started(LONG, "--workers", "2")
    both = wait_for(lambda: len(found := workers_of(study.pid)) == 2 and found)
    wait_for(lambda: len(list(Path("runs/tiny").glob("checkpoints/*.pt"))) == 2)
    study.send_signal(signal.SIGINT)
    _, err = study.communicate(timeout=PATIENCE)
    assert study.returncode == 130, err
    assert "Traceback" not in err
    wait_for(lambda: not any(is_alive(worker) for worker in both))
    assert [trial["state"] for trial in trials()] == ["INTERRUPTED", "INTERRUPTED"]
    interrupted = {trial["digest"] for trial in trials()}
    study = started(LONG)  # another number of workers, and the same study
    _, err = study.communicate(timeout=PATIENCE)
    assert study.returncode == 0, err
    assert {trial["digest"] for trial in trials() if trial["state"] == "COMPLETE"} == interrupted


@pytest.mark.slow
def test_a_study_that_is_killed_takes_all_its_workers_with_it(
    started: Callable[..., subprocess.Popen[str]],
) -> None:
    study = started(LONG, "--workers", "2")
    both = wait_for(lambda: len(found := workers_of(study.pid)) == 2 and found)
    wait_for(lambda: Path("runs/tiny/study.yaml").exists())
    study.kill()
    wait_for(lambda: not any(is_alive(worker) for worker in both))


@pytest.mark.slow
def test_a_baseline_that_ends_its_process_fails_and_the_study_goes_on(
    started: Callable[[str], subprocess.Popen[str]],
) -> None:
    Path("deadly.py").write_text(DEADLY)
    Path("plugins.toml").write_text('schema = 1\n[local]\ndeadly = "deadly.py:Deadly"\n')
    agree()
    write_study(BASELINE.replace("pooling", "local/deadly"), "mine.yaml")
    text = LONG.replace("epochs: 60", "epochs: 1")
    study = started(text.replace("trials: 2", "trials: 1, baselines: [mine.yaml]"))
    _, err = study.communicate(timeout=PATIENCE)
    assert study.returncode == 0, err
    lines = Path("runs/tiny/baselines.jsonl").read_text().splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["LOST", "LOST", "FAILED"]
    assert "SIGABRT, as 2 times before" in err
    assert [trial["state"] for trial in trials()] == ["COMPLETE"]
