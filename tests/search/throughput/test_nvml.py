from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from search.throughput import nvml as module
from search.throughput.nvml import GpuProcess, MissingReader, NvmlReader, gpu_reader

CUDA = torch.device("cuda", 0)
UUID = "12345678-1234-1234-1234-123456789abc"
FOREIGN = 2**22 + 1  # above any pid that Linux gives


class FakeNvml:
    """pynvml as nvidia-ml-py 13 has it, with the answers of an idle H100."""

    class NVMLError(Exception):
        pass

    class NVMLLibraryMismatchError(Exception):
        pass

    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2

    def __init__(self, uuid: str = f"GPU-{UUID}") -> None:
        self.uuid = uuid
        self.pids: list[int] = []
        self.bits = 0x1
        self.asked: list[tuple[Any, ...]] = []

    def nvmlInit(self) -> None:
        self.asked.append(("nvmlInit",))

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != self.uuid:
            raise self.NVMLError("Not Found")
        return "handle"

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle: str) -> str:
        return f"parent of {handle}"

    def nvmlDeviceGetName(self, handle: str) -> str:
        return "NVIDIA H100 80GB HBM3"

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.86.15"

    def nvmlDeviceGetMigMode(self, device: str) -> list[int]:
        return [0, 0]

    def nvmlDeviceGetPersistenceMode(self, handle: str) -> int:
        return 1

    def nvmlDeviceGetClockInfo(self, handle: str, type: int) -> int:
        self.asked.append(("clock", handle))
        return {1: 345, 2: 2619}[type]

    def nvmlDeviceGetMaxClockInfo(self, handle: str, type: int) -> int:
        return {1: 1980, 2: 2619}[type]

    def nvmlDeviceGetApplicationsClock(self, handle: str, type: int) -> int:
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        return 31

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return 71_500

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: str) -> int:
        return 700_000

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: str) -> int:
        return self.bits

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(gpu=0, memory=0)

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> SimpleNamespace:
        return SimpleNamespace(total=80 * 2**30, free=79 * 2**30, used=2**30)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:
        self.asked.append(("processes", handle))
        return [SimpleNamespace(pid=pid, usedGpuMemory=2**29) for pid in self.pids]

    def nvmlSystemGetProcessName(self, pid: int) -> str:
        return "/usr/bin/other\x1b"


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    properties = SimpleNamespace(uuid=UUID)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: properties)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 0)
    return FakeNvml()


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
    known = {name for name, value in reading.to_data().items() if value not in (None, "")}
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
