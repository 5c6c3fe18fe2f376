"""A worker's process seen from outside, with another program in the place of the worker."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from search.workers.process import Child, WorkerDied

PATIENCE = 60.0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Child]]:
    children: list[Child] = []

    def start(script: str) -> Child:
        program = Path("program").resolve()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        children.append(Child(Path("study.yaml"), torch.device("cpu"), None))
        return children[-1]

    yield start
    for child in children:
        child.end()


def wait_for_the_end_of(child: Child) -> None:
    deadline = time.monotonic() + PATIENCE
    while child.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_is_dead_though_what_it_started_keeps_its_pipe_open(
    started: Callable[[str], Child],
) -> None:
    child = started("sleep 60 & exit 3")
    wait_for_the_end_of(child)
    with pytest.raises(WorkerDied, match="exit code 3"):
        child.receive(0.01)


def test_the_last_words_of_a_worker_are_heard(started: Callable[[str], Child]) -> None:
    said: list[Any] = [None, ({"ready": True}, b"")]

    class SaidAtTheEnd:
        def receive(self, _timeout_seconds: float) -> Any:
            return said.pop(0)

    child = started("exit 0")
    wait_for_the_end_of(child)
    child._receiver = SaidAtTheEnd()  # type: ignore[assignment]
    assert child.receive(0.01) == ({"ready": True}, b"")
