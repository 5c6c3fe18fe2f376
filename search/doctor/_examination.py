"""Facts that a measurement here depends on: device, versions, switches, other processes, storage.

Only looks: nothing is set, and what is written to try the storage is removed.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from mixers import InputError, MixerState, PluginError, load_registry
from search.device_lease.lease import lease_holders, lease_reach
from search.devices import require_device
from search.doctor._facts import Facts, PluginState
from search.doctor._storage_check import examine_storage
from search.errors import EnvironmentProblem
from search.hardware.cpu import (
    CpuTimes,
    affinity,
    foreign_seconds,
    read_cpu,
    read_times,
    stolen_seconds,
)
from search.hardware.nvml import gpu_reader

WINDOW_SECONDS = 0.5  # over which others' work on the CPUs is watched
PACKAGES = ("metaformer-search", "torch", "torchvision", "timm", "optuna", "numpy", "triton")
WATCHED_VARIABLES = (
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_VISIBLE_DEVICES",
    "DNNL_VERBOSE",
    "KMP_AFFINITY",
    "MKL_NUM_THREADS",
    "MKL_VERBOSE",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_WAIT_POLICY",
    "ONEDNN_VERBOSE",
    "PYTHONDEVMODE",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "TORCHDYNAMO_DISABLE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCH_COMPILE_DISABLE",
    "TORCH_USE_CUDA_DSA",
)


def examine(
    device_name: str = "auto",
    *,
    precision: str | None = None,
    out: Path = Path("runs"),
    plugins: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Facts:
    """Looks at this machine for half a second; `precision` is the one that will be asked for."""
    device, trouble = _device(device_name)
    reader = gpu_reader(device)
    reading = reader.read()
    cpu = read_cpu()
    sleep(WINDOW_SECONDS)
    foreign, stolen, throttled = _meanwhile(cpu.times, read_times(affinity()))
    active, refused, plugins_trouble = _plugins(plugins)
    return Facts(
        host=platform.node(),
        system=f"{platform.system()} {platform.release()}",
        device=str(device),
        device_trouble=trouble,
        cuda_devices=_cuda_devices(),
        driver=(reading.driver if reading else None) or driver_version(),
        gpu=reading,
        gpu_unknown=reader.reason,
        cpu=cpu,
        foreign_cpus=foreign,
        stolen_cpus=stolen,
        throttled=throttled,
        versions=_versions(),
        precision=precision,
        tf32_matmul=torch.backends.cuda.matmul.allow_tf32,
        tf32_cudnn=torch.backends.cudnn.allow_tf32,
        cudnn_benchmark=torch.backends.cudnn.benchmark,
        cudnn_deterministic=torch.backends.cudnn.deterministic,
        threads=torch.get_num_threads(),
        variables={name: os.environ[name] for name in WATCHED_VARIABLES if name in os.environ},
        active_mixers=active,
        plugins=refused,
        plugins_trouble=plugins_trouble,
        storage=examine_storage(out),
        lease_reach=lease_reach(),
        lease_holders={
            part: str(holder or "another process") for part, holder in lease_holders(device).items()
        },
    )


def driver_version(file: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """The NVIDIA driver's version as the kernel has it; None if there is none."""
    try:
        text = file.read_text()
    except OSError:
        return None
    found = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
    return found[0] if found else None


def _device(name: str) -> tuple[torch.device, str]:
    try:
        return require_device(name), ""
    except EnvironmentProblem as error:
        return torch.device("cpu"), str(error)


def _cuda_devices() -> tuple[str, ...]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(torch.cuda.get_device_name(index) for index in range(count))


def _meanwhile(before: CpuTimes, after: CpuTimes) -> tuple[float | None, float | None, bool]:
    """CPUs that others and the hypervisor had; whether the quota held this process back."""
    foreign, stolen = foreign_seconds(before, after), stolen_seconds(before, after)
    shares = [
        None if seconds is None else seconds / WINDOW_SECONDS for seconds in (foreign, stolen)
    ]
    return shares[0], shares[1], (after.throttled or 0) > (before.throttled or 0)


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    return {**found, "CUDA": torch.version.cuda, "cuDNN": None if cudnn is None else str(cudnn)}


def _plugins(file: str | None) -> tuple[int, tuple[PluginState, ...], str]:
    try:
        registry = load_registry(file)
    except (InputError, PluginError) as error:
        return 0, (), str(error)
    entries = registry.all_entries()
    states = {entry.name: registry.state(entry) for entry in entries}
    refused = tuple(
        PluginState(name=name, state=state.value, reason=reason)
        for name, (state, reason) in states.items()
        if state is not MixerState.ACTIVE
    )
    return len(entries) - len(refused), refused, ""
