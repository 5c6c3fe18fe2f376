from __future__ import annotations

import time

import pytest
import torch

from search.throughput.sensors import CpuSensors

read = CpuSensors.read  # before tests/conftest.py puts nothing in its place


def test_a_cpu_is_busy_with_what_this_process_computes_and_not_with_what_it_waits_for() -> None:
    sensors = CpuSensors()
    start = read(sensors).busy_seconds
    time.sleep(0.2)
    waited = read(sensors).busy_seconds
    assert start is not None
    assert waited is not None
    assert waited - start < 0.1
    while time.process_time() < start + 0.2:
        pass
    computed = read(sensors).busy_seconds
    assert computed is not None
    assert computed - start >= 0.2


def test_with_several_threads_own_work_cannot_be_told_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert read(CpuSensors()).busy_seconds is None
