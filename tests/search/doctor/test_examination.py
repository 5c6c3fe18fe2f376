from __future__ import annotations

from pathlib import Path

import pytest
import torch

from search.doctor import _examination as examination
from search.doctor._examination import WINDOW_SECONDS, driver_version, examine
from search.hardware.cpu import CpuTimes


@pytest.fixture(autouse=True)
def _leases_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.device_lease.lease.shared_folder", lambda: tmp_path / "leases")


def test_this_machine_is_looked_at_without_waiting_longer_than_said() -> None:
    slept: list[float] = []
    facts = examine("cpu", sleep=slept.append)
    assert slept == [WINDOW_SECONDS]
    assert facts.device == "cpu"
    assert facts.threads == torch.get_num_threads()
    assert facts.versions["torch"] == torch.__version__.partition("+")[0]
    assert facts.active_mixers >= 10
    assert facts.lease_holders == {}
    assert list(Path().iterdir()) == []


def test_what_others_had_is_in_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    after = iter([(11.0, 0.05, 1.0), (12.0, 0.1, 1.5)])

    def read(*_arguments: object) -> CpuTimes:
        busy, stolen, throttled = next(after)
        return CpuTimes(busy=busy, stolen=stolen, own=1.0, throttled=throttled)

    monkeypatch.setattr("search.hardware.cpu.read_times", read)
    monkeypatch.setattr(examination, "read_times", read)
    facts = examine("cpu", sleep=lambda _seconds: None)
    assert facts.foreign_cpus == pytest.approx(1 / WINDOW_SECONDS)
    assert facts.stolen_cpus == pytest.approx(0.05 / WINDOW_SECONDS)
    assert facts.throttled


def test_a_device_that_is_not_there_is_said_and_the_rest_is_looked_at_all_the_same() -> None:
    facts = examine("cuda:77", sleep=lambda _seconds: None)
    assert "cuda:77" in facts.device_trouble
    assert facts.device == "cpu"


def test_mixers_that_may_not_be_used_are_listed_with_their_state() -> None:
    Path("plugins.toml").write_text("schema = 1\n[mixers.conv]\nenabled = false\n")
    facts = examine("cpu", sleep=lambda _seconds: None)
    (plugin,) = facts.plugins
    assert (plugin.name, plugin.state) == ("conv", "disabled")
    assert "plugins.toml" in plugin.reason


def test_rules_of_mixers_that_cannot_stand_are_trouble_and_no_end() -> None:
    Path("plugins.toml").write_text("[mixers\n")
    facts = examine("cpu", sleep=lambda _seconds: None)
    assert "plugins.toml" in facts.plugins_trouble


def test_the_driver_is_known_to_the_kernel_too(tmp_path: Path) -> None:
    file = tmp_path / "version"
    assert driver_version(file) is None
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23\nGCC\n")
    assert driver_version(file) == "570.86.15"
