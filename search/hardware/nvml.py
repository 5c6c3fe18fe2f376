"""State of a GPU from NVIDIA's management library: other processes, clocks, heat, power.

Nothing is ever set. What the library, the driver or a container does not tell is None, and
reading raises nothing: a sensor that fails must not end a measurement. `pynvml` comes with the
package nvidia-ml-py, the extra `gpu`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any

import torch

from search.hardware.gpu_processes import GpuProcess, ProcessWatch, unix_microseconds

# https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html
_REASONS = {
    0x001: "idle",
    0x002: "application clocks",
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "too hot (software)",
    0x040: "too hot (hardware)",
    0x080: "power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}
SLOWDOWNS = frozenset(_REASONS.values()) - {"idle", "application clocks", "display clocks"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """The state of a GPU at one moment; None is what could not be read.

    `clock_reasons` are why the clocks are what they are; those in SLOWDOWNS hold them down.
    `foreign` are the processes outside this one's family that compute, or may; None if they
    cannot be told from it, with the reason in `foreign_unknown`. `idle` are those that only hold a
    context; if that cannot be told they are foreign, with the reason in `idle_unknown`. Of a
    MIG instance, clocks, heat and power are those of the whole GPU. Utilisation is over the
    driver's last sample, up to a second.
    """

    uuid: str
    name: str | None
    driver: str | None
    mig: bool | None
    persistence: bool | None
    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    max_sm_clock_mhz: int | None
    max_memory_clock_mhz: int | None
    application_sm_clock_mhz: int | None
    application_memory_clock_mhz: int | None
    temperature_celsius: int | None
    power_watts: float | None
    power_limit_watts: float | None
    clock_reasons: tuple[str, ...] | None
    utilisation_percent: int | None
    used_memory_bytes: int | None
    total_memory_bytes: int | None
    foreign: tuple[GpuProcess, ...] | None
    foreign_unknown: str
    idle: tuple[GpuProcess, ...]
    idle_unknown: str

    @property
    def slowdowns(self) -> tuple[str, ...]:
        """The reasons that hold the clocks down."""
        return tuple(reason for reason in self.clock_reasons or () if reason in SLOWDOWNS)

    def to_data(self) -> dict[str, Any]:
        return asdict(self)


class MissingReader:
    """A GPU of which nothing can be read; `reason` says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def read(self) -> GpuReading | None:
        return None


class NvmlReader:
    """Reads one GPU or MIG instance. `owns_context`: this process computes on it by now."""

    reason = ""

    def __init__(
        self,
        nvml: Any,
        uuid: str,
        handle: Any,
        owns_context: Callable[[], bool] = lambda: False,
        now: Callable[[], int] = unix_microseconds,
    ) -> None:
        self._nvml, self._uuid, self._handle = nvml, uuid, handle
        self._processes = ProcessWatch(self._ask, handle, owns_context, now)
        parent = None
        if uuid.startswith("MIG-"):
            parent = self._ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", handle)
        self._whole = handle if parent is None else parent  # clocks and heat are of all of it

    def read(self) -> GpuReading | None:
        whole, nvml = self._whole, self._nvml
        sm, memory = _constant(nvml, "NVML_CLOCK_SM", 1), _constant(nvml, "NVML_CLOCK_MEM", 2)
        used = self._ask("nvmlDeviceGetMemoryInfo", self._handle)
        mig = self._ask("nvmlDeviceGetMigMode", whole)
        persistence = self._ask("nvmlDeviceGetPersistenceMode", whole)
        utilisation = self._ask("nvmlDeviceGetUtilizationRates", whole)
        instance = self._uuid.startswith("MIG-") or bool(mig and mig[0])
        others = self._processes.read(mig=instance)
        return GpuReading(
            uuid=self._uuid,
            name=self._ask("nvmlDeviceGetName", self._handle),
            driver=self._ask("nvmlSystemGetDriverVersion"),
            mig=None if mig is None else bool(mig[0]),
            persistence=None if persistence is None else bool(persistence),
            sm_clock_mhz=self._ask("nvmlDeviceGetClockInfo", whole, sm),
            memory_clock_mhz=self._ask("nvmlDeviceGetClockInfo", whole, memory),
            max_sm_clock_mhz=self._ask("nvmlDeviceGetMaxClockInfo", whole, sm),
            max_memory_clock_mhz=self._ask("nvmlDeviceGetMaxClockInfo", whole, memory),
            application_sm_clock_mhz=self._ask("nvmlDeviceGetApplicationsClock", whole, sm),
            application_memory_clock_mhz=self._ask("nvmlDeviceGetApplicationsClock", whole, memory),
            temperature_celsius=self._ask("nvmlDeviceGetTemperature", whole, 0),
            power_watts=_watts(self._ask("nvmlDeviceGetPowerUsage", whole)),
            power_limit_watts=_watts(self._ask("nvmlDeviceGetEnforcedPowerLimit", whole)),
            clock_reasons=self._clock_reasons(),
            utilisation_percent=None if utilisation is None else int(utilisation.gpu),
            used_memory_bytes=None if used is None else int(used.used),
            total_memory_bytes=None if used is None else int(used.total),
            foreign=others.foreign,
            foreign_unknown=others.foreign_unknown,
            idle=others.idle,
            idle_unknown=others.idle_unknown,
        )

    def _clock_reasons(self) -> tuple[str, ...] | None:
        """Under its newer name first; a driver or a package of 2023 only knows the older one."""
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons", self._whole)
        if bits is None:
            bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", self._whole)
        if bits is None:
            return None
        bits = int(bits)
        named = [word for bit, word in _REASONS.items() if bits & bit]
        rest = bits & ~sum(_REASONS)
        return (*named, f"unknown ({rest:#x})") if rest else tuple(named)

    def _ask(self, function: str, *arguments: Any) -> Any:
        """The library's answer, or None if package, driver or permission lack it."""
        return _ask(self._nvml, function, *arguments)


def gpu_reader(
    device: torch.device, nvml: Any = None, *, now: Callable[[], int] = unix_microseconds
) -> NvmlReader | MissingReader:
    """The reader of a CUDA device, found by its UUID, since CUDA_VISIBLE_DEVICES renumbers."""
    if device.type != "cuda":
        return MissingReader(f"{device} is no CUDA device")
    if nvml is None:
        try:
            nvml = import_module("pynvml")
        except ImportError:
            words = "pynvml is not installed: pip install 'metaformer-search[gpu]'"
            return MissingReader(words)
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return MissingReader(f"NVML cannot be used: {error}")
    uuid = str(torch.cuda.get_device_properties(device).uuid)
    # torch gives it bare, for a GPU and for a MIG instance alike
    names = [uuid] if uuid.startswith(("GPU-", "MIG-")) else [f"GPU-{uuid}", f"MIG-{uuid}"]
    for name in names:
        handle = _ask(nvml, "nvmlDeviceGetHandleByUUID", name)
        if handle is not None:
            return NvmlReader(
                nvml, name, handle, lambda: torch.cuda.memory_reserved(device) > 0, now
            )
    return MissingReader(f"NVML does not know the GPU {uuid}, or may not show it here")


def _ask(nvml: Any, function: str, *arguments: Any) -> Any:
    # a package older than the function lacks it; a driver older than the package says mismatch
    call = getattr(nvml, function, None)
    if call is None:
        return None
    refusals = (nvml.NVMLError, getattr(nvml, "NVMLLibraryMismatchError", nvml.NVMLError))
    try:
        return call(*arguments)
    except refusals:
        return None


def _constant(nvml: Any, name: str, value: int) -> int:
    return int(getattr(nvml, name, value))


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000
