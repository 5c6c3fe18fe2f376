from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from machines import CPU, GPU, ON_CPU

from search.doctor import Facts, Storage, findings
from search.hardware.gpu_processes import GpuProcess

ON_GPU = replace(
    ON_CPU, device="cuda:0", cuda_devices=("H100",), driver="570", gpu=GPU, gpu_unknown=""
)


def cpu(**changes: Any) -> Facts:
    return replace(ON_CPU, cpu=replace(CPU, **changes))


def gpu(**changes: Any) -> Facts:
    return replace(ON_GPU, gpu=replace(GPU, **changes))


def variable(facts: Facts, name: str, value: str) -> Facts:
    return replace(facts, variables={name: value})


def storage(**changes: Any) -> Facts:
    return replace(ON_CPU, storage=replace(ON_CPU.storage, **changes))


def test_nothing_is_said_of_a_machine_that_is_fit() -> None:
    assert findings(ON_CPU) == []
    assert findings(ON_GPU) == []


@pytest.mark.parametrize(
    ("facts", "problem", "advice"),
    [
        (replace(ON_CPU, foreign_cpus=0.83), "0.83 of 4 CPUs just now", "taskset"),
        (replace(ON_CPU, foreign_cpus=None), "/proc/stat does not tell", "other means"),
        (cpu(load_average=0.6), "load average 0.6", "top"),
        (replace(ON_CPU, stolen_cpus=0.1), "hypervisor gives 0.10", "of its own"),
        (cpu(governors=("performance", "powersave")), "governor powersave", "cpupower"),
        (cpu(shared_cores=((0, 2),)), "CPUs 0,2 are threads of one core", "taskset -c 0"),
        (replace(ON_CPU, threads=5), "5 threads on 4 CPUs", "OMP_NUM_THREADS=4"),
        (replace(cpu(quota=1.5), threads=2), "2 threads on a quota of 1.5", "OMP_NUM_THREADS=1"),
        (replace(ON_CPU, throttled=True), "has just held", "fewer threads"),
        (cpu(swap_used_bytes=2**30), "swap is in use: 1,024 MiB", "free memory"),
        (variable(ON_CPU, "PYTHONDEVMODE", "1"), "PYTHONDEVMODE=1", "unset PYTHONDEVMODE"),
        (variable(ON_GPU, "CUDA_LAUNCH_BLOCKING", "1"), "waits for every", "unset CUDA_LAUNCH"),
        (variable(ON_GPU, "NVIDIA_TF32_OVERRIDE", "0"), "decides on TF32", "unset NVIDIA_TF32"),
        (replace(ON_GPU, precision="fp32"), "TF32 is on for cuDNN", "allow_tf32 = False"),
        (replace(ON_GPU, cudnn_deterministic=True), "deterministic", "= False"),
        (replace(ON_GPU, cudnn_benchmark=True), "in the next process", "= False"),
        (replace(ON_GPU, gpu=None, gpu_unknown="no pynvml"), "no pynvml", "[gpu]"),
        (gpu(foreign=None, foreign_unknown="a container"), "a container", "--pid=host"),
        (gpu(foreign=(GpuProcess(7, "train", 1),)), "process 7 (train) computes", "wait"),
        (gpu(foreign=(GpuProcess(7, "", None),)), "process 7 computes", "wait"),
        (
            gpu(foreign=(GpuProcess(7, "train", 1),), idle_unknown="nothing is shown"),
            "process 7 (train) has a context on the GPU and may compute: the GPU as a whole is 0%",
            "wait",
        ),
        (
            gpu(
                foreign=(GpuProcess(7, "", 1),),
                idle_unknown="nothing is shown",
                utilisation_percent=None,
            ),
            "may compute: nothing is shown",
            "wait",
        ),
        (
            gpu(idle=(GpuProcess(7, "jupyter", 3 * 2**30),)),
            "process 7 (jupyter) is idle and holds 3,072 MiB of the GPU",
            "spoils nothing until it computes",
        ),
        (gpu(idle=(GpuProcess(7, "", None),)), "is idle and holds memory of the GPU", "end it"),
        (gpu(utilisation_percent=60), "60% busy, by nobody", "from the host"),
        (gpu(clock_reasons=("power cap",)), "held down: power cap", "cool"),
        (
            gpu(clock_reasons=("application clocks",), application_sm_clock_mhz=1200),
            "1200 of 1980 MHz",
            "nvidia-smi -rac",
        ),
        (replace(ON_CPU, driver="550.1"), "finds no device", "pytorch.org"),
        (replace(ON_CPU, lease_holders={"CPU 0": "process 7"}), "CPU 0 is leased by", "wait"),
        (replace(ON_CPU, lease_reach="nobody: no folder"), "keeps away nobody", "others"),
        (storage(free_bytes=2**20), "1 MiB are free", "make room"),
    ],
)
def test_what_spoils_a_measurement_is_said_with_what_to_do(
    facts: Facts, problem: str, advice: str
) -> None:
    (found,) = findings(facts)
    assert problem in found.problem
    assert advice in found.advice
    assert not found.stops


def test_less_than_one_cpu_halts_even_one_thread() -> None:
    found = findings(cpu(quota=0.5))
    assert [finding.problem.split()[0] for finding in found] == ["1", "a"]
    assert "halts even one thread" in found[1].problem


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        (
            replace(
                ON_CPU, device_trouble="device: got cuda; allowed: auto, cpu (no CUDA device here)"
            ),
            "got cuda",
        ),
        (replace(ON_CPU, plugins_trouble="plugins.toml:1: bad"), "plugins.toml:1: bad"),
        (storage(trouble="Permission denied"), "/data cannot be written: Permission denied"),
        (storage(lock_trouble="No locks available"), "locks do not work in /data"),
    ],
)
def test_what_stops_the_work_is_told_apart_and_comes_first(facts: Facts, problem: str) -> None:
    first, second = findings(replace(facts, threads=9))
    assert first.stops
    assert problem in first.problem
    assert not second.stops


@pytest.mark.parametrize(
    "facts",
    [
        replace(cpu(cpus=tuple(range(128)), machine_cpus=128), foreign_cpus=1.0),
        cpu(governors=("schedutil",), quota=2.0),
        cpu(governors=None, shared_cores=None, load_average=None, swap_used_bytes=None),
        variable(ON_GPU, "CUDA_LAUNCH_BLOCKING", "0"),
        variable(ON_CPU, "NVIDIA_TF32_OVERRIDE", "1"),
        replace(ON_CPU, precision="fp32"),
        replace(ON_GPU, precision="tf32"),
        gpu(clock_reasons=("idle", "application clocks"), application_sm_clock_mhz=1980),
        gpu(clock_reasons=None, utilisation_percent=None, application_sm_clock_mhz=None),
        replace(ON_GPU, foreign_cpus=3.0, cpu=replace(CPU, load_average=9.0)),
        replace(ON_CPU, storage=Storage(folder="/", free_bytes=None, trouble="", lock_trouble="")),
    ],
)
def test_what_does_no_harm_is_not_warned_of(facts: Facts) -> None:
    assert findings(facts) == []
