"""NVML of one GPU, as a test says that it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

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
