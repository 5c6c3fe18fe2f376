"""`search run` on several devices."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from running import run
from tiny import write_study

from search.study.runner import StudyRunner


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[StudyRunner]:
    """The runners that were made, and did nothing; the machine has two CUDA devices."""
    made: list[StudyRunner] = []

    def run_nothing(self: StudyRunner, **_options: Any) -> dict[str, Any]:
        made.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(StudyRunner, "run", run_nothing)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "H100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    return made


@pytest.mark.parametrize(
    ("arguments", "devices"),
    [
        (["--device", "cpu"], ["cpu"]),
        (["--device", "cpu", "--workers", "2"], ["cpu", "cpu"]),
        (["--devices", "0-1"], ["cuda:0", "cuda:1"]),
        (["--devices", "cuda:1"], ["cuda:1"]),
        (["--devices", "1,0", "--workers", "3"], ["cuda:1", "cuda:0", "cuda:1"]),
        (["--workers", "2"], ["cuda:0", "cuda:0"]),
    ],
)
def test_workers_are_spread_over_the_devices(
    asked: list[StudyRunner], arguments: list[str], devices: list[str]
) -> None:
    result = run(str(write_study()), *arguments)
    assert result.exit_code == 130, result.output
    assert [str(device) for device in asked[0].worker_devices] == devices
    assert str(asked[0].device) == asked[0].study.config.measure.device == devices[0]


def test_fewer_workers_than_devices_are_a_mistake(asked: list[StudyRunner]) -> None:
    result = run(str(write_study()), "--devices", "0-1", "--workers", "1")
    assert result.exit_code == 2
    assert "error: --workers: got 1; allowed: 2 or more" in result.output
    assert not asked
