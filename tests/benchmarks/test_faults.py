"""Real processes that are killed: the script itself, with few kills."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "faults.py"


@pytest.mark.slow
def test_a_study_whose_processes_are_killed_ends_as_one_that_is_left_alone() -> None:
    out = Path("faults.json")
    command = [sys.executable, str(SCRIPT), "--kills", "3", "--epochs", "4", "--kills-only"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert sum(rows[1]["kills"].values()) == 3
    assert all(row["violations"] == [] for row in rows)
