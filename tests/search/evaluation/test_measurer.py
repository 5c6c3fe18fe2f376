from __future__ import annotations

from typing import Any

import pytest
import torch

from search.evaluation import measurer as measurer_module
from search.evaluation.measurer import Measurer
from search.profiling.roofline import Rates
from search.throughput.sensors import CpuSensors, Reading

CPU = torch.device("cpu")


def a_measurer() -> Measurer:
    return Measurer(CPU, check=lambda: None, note=lambda _text: None, sleep=lambda _seconds: None)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[Rates]:
    """What the device is seen to do, one after the other."""
    found = [Rates(1.0, 4.0), Rates(3.0, 2.0)]
    monkeypatch.setattr(measurer_module, "measure_rates", lambda *_arguments: found.pop(0))
    return found


@pytest.mark.usefixtures("rates")
def test_the_rates_of_a_device_are_the_best_that_it_was_seen_to_do() -> None:
    assert a_measurer().rates("fp32") == Rates(3.0, 4.0)


@pytest.mark.usefixtures("rates")
def test_rates_that_others_may_have_slowed_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(_sensors: Any) -> Reading:
        return Reading(foreign=("somebody",))

    monkeypatch.setattr(CpuSensors, "read", busy)
    monkeypatch.setattr(measurer_module, "counts_own_time", lambda _device: False)
    assert a_measurer().rates("fp32") is None


@pytest.mark.usefixtures("rates")
def test_on_one_thread_rates_are_by_own_time_and_others_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CpuSensors, "read", lambda _self: Reading(foreign=("somebody",)))
    assert a_measurer().rates("fp32") is not None
