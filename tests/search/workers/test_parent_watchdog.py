"""What is left of a worker whose study is gone, whatever it was doing."""

from __future__ import annotations

import os
import subprocess
import sys
import time

HANGS = """
import os, subprocess, sys, time
from search.workers import _parent_watchdog as parent
parent.LOOKING_SECONDS = parent.GRACE_SECONDS = 0.05
parent.end_with(os.getppid())
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
while True:
    pass
"""
STUDY = """
import subprocess, sys
worker = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1]], start_new_session=True, stdout=subprocess.PIPE, text=True
)
print(worker.stdout.readline().strip(), flush=True)  # empty if it died
sys.stdin.read()
"""


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as stat:  # nobody may be there to reap it
        return stat.read().rpartition(")")[2].split()[0] == "Z"


def test_a_worker_that_never_returns_is_killed_with_all_that_it_started() -> None:
    study = subprocess.Popen(
        [sys.executable, "-c", STUDY, HANGS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert study.stdout is not None
    try:
        pids = [int(word) for word in study.stdout.readline().split()]
        assert len(pids) == 2
        assert not any(map(is_gone, pids))
    finally:
        study.kill()
        study.wait()
    end = time.monotonic() + 60
    while not all(map(is_gone, pids)):
        assert time.monotonic() < end, "it lives on"
        time.sleep(0.05)
