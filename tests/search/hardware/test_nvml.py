from __future__ import annotations

import inspect
import os
from collections.abc import Callable

import pytest
import torch
from fake_nvml import CUDA, FOREIGN, UUID, FakeNvml

from search.hardware import nvml as module
from search.hardware.gpu_processes import GpuProcess
from search.hardware.nvml import MissingReader, NvmlReader, gpu_reader


def test_everything_is_read_of_the_gpu_with_the_uuid_that_torch_names(nvml: FakeNvml) -> None:
    reader = gpu_reader(CUDA, nvml)
    assert isinstance(reader, NvmlReader)
    reading = reader.read()
    assert reading is not None
    assert reading.to_data() == {
        "uuid": f"GPU-{UUID}",
        "name": "NVIDIA H100 80GB HBM3",
        "driver": "570.86.15",
        "mig": False,
        "persistence": True,
        "sm_clock_mhz": 345,
        "memory_clock_mhz": 2619,
        "max_sm_clock_mhz": 1980,
        "max_memory_clock_mhz": 2619,
        "application_sm_clock_mhz": None,
        "application_memory_clock_mhz": None,
        "temperature_celsius": 31,
        "power_watts": 71.5,
        "power_limit_watts": 700.0,
        "clock_reasons": ("idle",),
        "utilisation_percent": 0,
        "used_memory_bytes": 2**30,
        "total_memory_bytes": 80 * 2**30,
        "foreign": (),
        "foreign_unknown": "",
        "idle": (),
        "idle_unknown": "",
    }
    assert reading.slowdowns == ()


def test_of_a_mig_instance_clocks_are_the_gpus_and_processes_its_own(nvml: FakeNvml) -> None:
    nvml.uuid = f"MIG-{UUID}"
    reading = gpu_reader(CUDA, nvml).read()
    assert reading is not None
    assert reading.uuid == f"MIG-{UUID}"
    assert ("clock", "parent of handle") in nvml.asked
    assert ("processes", "handle") in nvml.asked


def test_processes_outside_the_family_are_foreign(nvml: FakeNvml) -> None:
    nvml.pids = [os.getpid(), os.getppid(), FOREIGN]
    reading = gpu_reader(CUDA, nvml).read()
    assert reading is not None
    assert reading.foreign == (GpuProcess(FOREIGN, "/usr/bin/other?", 2**29),)


@pytest.mark.parametrize(
    ("pids", "foreign", "words"),
    [
        ([], None, "not in the driver's list"),
        ([FOREIGN], (), ""),
        ([FOREIGN, FOREIGN + 1], None, "2 processes, one of which is this"),
    ],
)
def test_in_a_container_where_this_process_does_not_find_itself_it_is_said(
    nvml: FakeNvml,
    monkeypatch: pytest.MonkeyPatch,
    pids: list[int],
    foreign: tuple[GpuProcess, ...] | None,
    words: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 2**20)
    nvml.pids = pids
    reading = gpu_reader(CUDA, nvml).read()
    assert reading is not None
    assert reading.foreign == foreign
    assert words in reading.foreign_unknown


def test_before_this_process_computes_there_all_that_are_listed_are_foreign(
    nvml: FakeNvml,
) -> None:
    nvml.pids = [FOREIGN, FOREIGN + 1]
    reading = gpu_reader(CUDA, nvml).read()
    assert reading is not None
    assert reading.foreign is not None
    assert len(reading.foreign) == 2


def test_why_the_clocks_are_low_is_said_in_words(nvml: FakeNvml) -> None:
    nvml.bits = 0x4 | 0x40 | 0x1000 | 0x2
    reading = gpu_reader(CUDA, nvml).read()
    assert reading is not None
    assert reading.clock_reasons == (
        "application clocks",
        "power cap",
        "too hot (hardware)",
        "unknown (0x1000)",
    )
    assert reading.slowdowns == ("power cap", "too hot (hardware)")


def test_the_older_name_of_the_reasons_is_asked_where_the_newer_is_missing(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(FakeNvml, "nvmlDeviceGetCurrentClocksEventReasons")
    older = "nvmlDeviceGetCurrentClocksThrottleReasons"
    monkeypatch.setattr(FakeNvml, older, lambda _self, _handle: 0x8, raising=False)
    reading = gpu_reader(CUDA, nvml).read()
    assert reading is not None
    assert reading.clock_reasons == ("hardware slowdown",)


@pytest.mark.parametrize("error", [FakeNvml.NVMLError, FakeNvml.NVMLLibraryMismatchError])
def test_a_driver_that_answers_nothing_gives_a_reading_of_nothing(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def refuse(*_arguments: object) -> None:
        raise error("GPU is lost")

    reader = gpu_reader(CUDA, nvml)
    for name, _ in inspect.getmembers(FakeNvml, inspect.isfunction):
        monkeypatch.setattr(FakeNvml, name, refuse)
    reading = reader.read()
    assert reading is not None
    known = {name for name, value in reading.to_data().items() if value not in (None, "", ())}
    assert known == {"uuid", "foreign_unknown"}


def test_without_package_driver_or_permission_nothing_is_read_and_the_reason_is_given(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver(_self: FakeNvml) -> None:
        raise FakeNvml.NVMLError("NVML Shared Library Not Found")

    def no_package(_name: str) -> None:
        raise ModuleNotFoundError

    def reason(given: object = nvml) -> str:
        reader = gpu_reader(CUDA, given)
        assert isinstance(reader, MissingReader)
        assert reader.read() is None
        return reader.reason

    nvml.uuid = "GPU-of-somebody-else"
    assert UUID in reason()
    with monkeypatch.context() as patch:
        patch.setattr(FakeNvml, "nvmlInit", no_driver)
        assert "NVML Shared Library Not Found" in reason()
    monkeypatch.setattr(module, "import_module", no_package)
    assert "metaformer-search[gpu]" in reason(None)
    assert gpu_reader(torch.device("cpu")).reason == "cpu is no CUDA device"


def test_the_fake_has_the_functions_and_arguments_of_the_package() -> None:
    package = pytest.importorskip("pynvml")
    for name, function in inspect.getmembers(FakeNvml, inspect.isfunction):
        if name.startswith("nvml"):
            given: Callable[..., object] = getattr(package, name)
            arguments = list(inspect.signature(given).parameters.values())
            needed = [a for a in arguments if a.default is inspect.Parameter.empty]
            assert len(needed) == len(inspect.signature(function).parameters) - 1, name
