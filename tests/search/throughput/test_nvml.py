from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from search.throughput import nvml as module
from search.throughput.gpu_processes import WINDOW_MICROSECONDS, GpuProcess
from search.throughput.nvml import GpuReading, MissingReader, NvmlReader, gpu_reader
from search.throughput.sensors import CudaSensors

CUDA = torch.device("cuda", 0)
UUID = "12345678-1234-1234-1234-123456789abc"
FOREIGN = 2**22 + 1  # above any pid that Linux gives
NOW = 1_790_000_000_000_000  # in microseconds
SECOND = 1_000_000


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
        self.mig = 0
        self.samples: list[SimpleNamespace] = []
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
        return [self.mig, self.mig]

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

    def nvmlDeviceGetProcessUtilization(self, handle: str, timeStamp: int) -> list[SimpleNamespace]:
        """One sample a process, an average since `timeStamp`; idle processes have none."""
        self.asked.append(("utilisation", handle, timeStamp))
        if not self.samples:
            raise self.NVMLError("Not Found")
        return self.samples

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


def sample(pid: int, sm: int = 50, *, ago: int = SECOND, encoder: int = 0) -> SimpleNamespace:
    shares = {"smUtil": sm, "memUtil": 0, "encUtil": encoder, "decUtil": 0}
    return SimpleNamespace(pid=pid, timeStamp=NOW - ago, **shares)


OWN = sample(os.getpid(), 97)


def watched(nvml: FakeNvml, clock: list[int] | None = None) -> Callable[[], GpuReading]:
    """Reads the GPU at the times of `clock`, at NOW without one."""
    reader = gpu_reader(CUDA, nvml, now=lambda: clock[-1] if clock is not None else NOW)

    def read() -> GpuReading:
        reading = reader.read()
        assert reading is not None
        return reading

    return read


def pids(processes: tuple[GpuProcess, ...] | None) -> list[int]:
    assert processes is not None
    return [process.pid for process in processes]


@pytest.mark.parametrize(
    ("others", "foreign", "idle"),
    [
        ([], [], [FOREIGN, FOREIGN + 1]),
        ([sample(FOREIGN)], [FOREIGN], [FOREIGN + 1]),
        ([sample(FOREIGN, 0)], [], [FOREIGN, FOREIGN + 1]),
        ([sample(FOREIGN, 0, encoder=3)], [FOREIGN], [FOREIGN + 1]),
        ([sample(FOREIGN, 2**31 - 16)], [FOREIGN], [FOREIGN + 1]),
        ([sample(FOREIGN, ago=WINDOW_MICROSECONDS - 1)], [FOREIGN], [FOREIGN + 1]),
        ([sample(FOREIGN, ago=WINDOW_MICROSECONDS)], [], [FOREIGN, FOREIGN + 1]),
        ([sample(FOREIGN, 0), sample(FOREIGN, 1)], [FOREIGN], [FOREIGN + 1]),
        ([sample(FOREIGN + 7, 60), sample(0, 2**31)], [], [FOREIGN, FOREIGN + 1]),
    ],
    ids=[
        "no sample", "work", "a share of 0", "an encoder", "far above 100 %", "just within 2 s",
        "2 s ago", "two samples", "samples of nobody in the list",
    ],
)  # fmt: skip
def test_where_the_driver_shows_own_work_who_computes_is_told_from_who_is_idle(
    nvml: FakeNvml, others: list[SimpleNamespace], foreign: list[int], idle: list[int]
) -> None:
    nvml.pids = [os.getpid(), FOREIGN, FOREIGN + 1]
    nvml.samples = [*others, OWN]
    reading = watched(nvml)()
    assert pids(reading.foreign) == foreign
    assert pids(reading.idle) == idle
    assert reading.idle_unknown == ""
    assert ("utilisation", "handle", NOW - 2 * SECOND) in nvml.asked


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [sample(FOREIGN)],
        [sample(os.getpid(), 0)],
        [sample(os.getpid(), 101)],
        [sample(os.getpid(), 50, encoder=2**31)],
        [sample(os.getpid(), ago=3 * SECOND)],
        [sample(os.getppid())],
    ],
    ids=[
        "nothing found", "another's work", "no own work", "above 100 %", "an impossible encoder",
        "older than asked for", "another of the family",
    ],
)  # fmt: skip
def test_a_driver_that_does_not_show_own_work_is_not_believed_to_show_idleness(
    nvml: FakeNvml, samples: list[SimpleNamespace]
) -> None:
    nvml.pids = [os.getpid(), FOREIGN]
    nvml.samples = samples
    reading = watched(nvml)()
    assert pids(reading.foreign) == [FOREIGN]
    assert reading.idle == ()
    assert "shows no work of this process" in reading.idle_unknown


def test_a_driver_that_was_believed_is_believed_no_longer_than_it_shows_own_work(
    nvml: FakeNvml,
) -> None:
    nvml.pids = [os.getpid(), FOREIGN]
    nvml.samples = [OWN]
    read = watched(nvml)
    assert pids(read().foreign) == []
    nvml.samples = []
    assert pids(read().foreign) == [FOREIGN]


@pytest.mark.parametrize("uuid", [f"GPU-{UUID}", f"MIG-{UUID}"])
def test_of_mig_nobody_is_asked_who_works(nvml: FakeNvml, uuid: str) -> None:
    nvml.uuid, nvml.mig = uuid, int(uuid.startswith("GPU"))
    nvml.pids = [os.getpid(), FOREIGN]
    nvml.samples = [OWN]
    reading = watched(nvml)()
    assert pids(reading.foreign) == [FOREIGN]
    assert "MIG" in reading.idle_unknown
    assert not [asked for asked in nvml.asked if asked[0] == "utilisation"]


def test_in_a_container_with_pids_of_its_own_samples_change_nothing(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 2**20)
    nvml.pids = [FOREIGN, FOREIGN + 1]
    nvml.samples = [OWN]
    reading = watched(nvml)()
    assert reading.foreign is None
    assert reading.idle == ()


def test_who_has_come_since_the_last_reading_is_foreign_until_samples_have_had_their_time(
    nvml: FakeNvml,
) -> None:
    nvml.pids = [os.getpid()]
    nvml.samples = [OWN]
    clock = [NOW - SECOND]
    read = watched(nvml, clock)
    read()
    nvml.pids.append(FOREIGN)
    for now, foreign in ((NOW, [FOREIGN]), (NOW + SECOND, [FOREIGN]), (NOW + 2 * SECOND, [])):
        clock.append(now)
        nvml.samples[0].timeStamp = now
        assert pids(read().foreign) == foreign


def test_who_has_gone_since_the_last_reading_is_foreign_where_it_has_worked(
    nvml: FakeNvml,
) -> None:
    nvml.pids = [os.getpid(), FOREIGN, FOREIGN + 1]
    nvml.samples = [OWN]
    read = watched(nvml)
    assert pids(read().foreign) == []
    nvml.pids = [os.getpid()]
    nvml.samples = [OWN, sample(FOREIGN)]
    reading = read()
    assert pids(reading.foreign) == [FOREIGN]
    assert reading.idle == ()
    assert pids(read().foreign) == []


def test_idle_processes_are_seen_beside_a_block_and_do_not_spoil_it(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = gpu_reader(CUDA, nvml, now=lambda: NOW)
    monkeypatch.setattr("search.throughput.sensors.gpu_reader", lambda _device: reader)
    sensors = CudaSensors(CUDA)
    nvml.pids = [os.getpid(), FOREIGN]
    assert sensors.read().foreign == (f"/usr/bin/other? ({FOREIGN}, perhaps idle)",)
    nvml.samples = [OWN]
    assert sensors.read().foreign == ()
    assert sensors.read().idle == (f"/usr/bin/other? ({FOREIGN})",)
    nvml.samples = [OWN, sample(FOREIGN)]
    assert sensors.read().foreign == (f"/usr/bin/other? ({FOREIGN})",)
    assert sensors.read().idle == ()


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
