"""Facts about this machine, as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from search.hardware.cpu import CpuReading
from search.hardware.nvml import GpuReading


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The folder that results go to, or the one above it that there is by now.

    `trouble` says why it cannot be written, `lock_trouble` why locks do not work there.
    """

    folder: str
    free_bytes: int | None
    trouble: str
    lock_trouble: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginState:
    name: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that was found; None and empty words if something could not be.

    `foreign_cpus` and `stolen_cpus` are how many of the CPUs others had while it was watched.
    `device_trouble` is why the device that was asked for is not `device`. `gpu_unknown` is why
    there is no `gpu`. `plugins` are those that may not be used, `plugins_trouble` why none can be
    listed. `lease_holders` are parts of the device and who has them.
    """

    host: str
    system: str
    device: str
    device_trouble: str
    cuda_devices: tuple[str, ...]
    driver: str | None
    gpu: GpuReading | None
    gpu_unknown: str
    cpu: CpuReading
    foreign_cpus: float | None
    stolen_cpus: float | None
    throttled: bool
    versions: dict[str, str | None]
    precision: str | None
    tf32_matmul: bool
    tf32_cudnn: bool
    cudnn_benchmark: bool
    cudnn_deterministic: bool
    threads: int
    variables: dict[str, str]
    active_mixers: int
    plugins: tuple[PluginState, ...]
    plugins_trouble: str
    storage: Storage
    lease_reach: str
    lease_holders: dict[str, str]

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    def to_data(self) -> dict[str, Any]:
        return asdict(self)
