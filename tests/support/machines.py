"""Machines as `search doctor` may find them: nothing spoils a measurement on either."""

from __future__ import annotations

import pwd

import pytest

from search.doctor import Facts, Storage
from search.hardware.cpu import CpuReading, CpuTimes
from search.hardware.nvml import GpuReading

CPU = CpuReading(
    name="AMD EPYC 9654",
    cpus=(0, 1, 2, 3),
    machine_cpus=4,
    shared_cores=(),
    governors=("performance",),
    frequency_mhz=3700.0,
    load_average=0.1,
    quota=None,
    container=None,
    virtual=False,
    swap_used_bytes=0,
    times=CpuTimes(busy=10.0, stolen=0.0, own=1.0, throttled=0.0),
)
GPU = GpuReading(
    uuid="GPU-1",
    name="NVIDIA H100 80GB HBM3",
    driver="570.86.15",
    mig=False,
    persistence=True,
    sm_clock_mhz=345,
    memory_clock_mhz=2619,
    max_sm_clock_mhz=1980,
    max_memory_clock_mhz=2619,
    application_sm_clock_mhz=1980,
    application_memory_clock_mhz=2619,
    temperature_celsius=31,
    power_watts=71.5,
    power_limit_watts=700.0,
    clock_reasons=("idle",),
    utilisation_percent=0,
    used_memory_bytes=0,
    total_memory_bytes=80 * 2**30,
    foreign=(),
    foreign_unknown="",
    idle=(),
    idle_unknown="",
)
ON_CPU = Facts(
    host="here",
    system="Linux 6",
    device="cpu",
    device_trouble="",
    cuda_devices=(),
    driver=None,
    gpu=None,
    gpu_unknown="cpu is no CUDA device",
    cpu=CPU,
    foreign_cpus=0.01,
    stolen_cpus=0.0,
    throttled=False,
    versions={"python": "3.11", "torch": "2.15.0", "triton": None, "CUDA": "13.2"},
    precision=None,
    tf32_matmul=False,
    tf32_cudnn=True,
    cudnn_benchmark=False,
    cudnn_deterministic=False,
    threads=1,
    variables={"OMP_NUM_THREADS": "1"},
    active_mixers=10,
    plugins=(),
    plugins_trouble="",
    storage=Storage(folder="/data", free_bytes=2**40, trouble="", lock_trouble=""),
    lease_reach="all users of this machine, in /tmp/leases",
    lease_holders={},
)


def without_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user id without passwd entry, as containers run under, and no environment of a login."""

    def unknown(*_arguments: object) -> None:
        raise KeyError("uid not found")

    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for function in ("getpwuid", "getpwnam"):
        monkeypatch.setattr(pwd, function, unknown)
