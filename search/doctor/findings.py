"""Problems that would spoil a measurement, derived from the facts, each with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from search.doctor._facts import Facts
from search.hardware.cpu import ranges
from search.hardware.gpu_processes import GpuProcess
from search.hardware.nvml import GpuReading

MAX_FOREIGN_CPUS = 0.1  # of one; and on many CPUs
MAX_FOREIGN_SHARE = 0.02  # of all, whichever is more
MAX_STOLEN_CPUS = 0.02
MAX_LOAD = 0.5
MAX_UTILISATION_PERCENT = 10
MIN_FREE_BYTES = 2**30
MAX_SWAP_BYTES = 64 * 2**20

# variables that slow the device down or change what is computed, unless they say no
_SPOILING = {
    "CUDA_LAUNCH_BLOCKING": "waits for every kernel",
    "DNNL_VERBOSE": "prints at every operation",
    "MKL_VERBOSE": "prints at every operation",
    "ONEDNN_VERBOSE": "prints at every operation",
    "PYTHONDEVMODE": "runs Python's own checks",
    "PYTORCH_NO_CUDA_MEMORY_CACHING": "allocates memory again at every operation",
    "TORCHDYNAMO_DISABLE": "leaves models eager where compiled ones are asked for",
    "TORCH_COMPILE_DISABLE": "leaves models eager where compiled ones are asked for",
    "TORCH_USE_CUDA_DSA": "checks within kernels",
}
_NO = ("", "0", "false", "False", "no", "off", "OFF")


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem and what to do; `stops` if nothing can be measured or kept before."""

    problem: str
    advice: str
    stops: bool = False

    def to_data(self) -> dict[str, Any]:
        return asdict(self)


def findings(facts: Facts) -> list[Finding]:
    """All that would spoil a measurement on the device of `facts`; what stops it comes first."""
    found = [
        *_device(facts),
        *_storage(facts),
        *_plugins(facts),
        *_lease(facts),
        *(_gpu(facts) if facts.on_gpu else _cpu(facts)),
        *_threads(facts),
        *_switches(facts),
    ]
    return sorted(found, key=lambda finding: not finding.stops)


def _device(facts: Facts) -> Iterator[Finding]:
    torch = f"torch {facts.versions.get('torch')} (CUDA {facts.versions.get('CUDA')})"
    if facts.device_trouble:
        advice = "name a device that is there, or see why torch does not find it: nvidia-smi"
        yield Finding(facts.device_trouble, advice, stops=True)
    if facts.driver is not None and not facts.cuda_devices:
        yield Finding(
            f"an NVIDIA driver is here ({facts.driver}), and {torch} finds no device: "
            "measured is the CPU",
            "check CUDA_VISIBLE_DEVICES, and install a torch for that driver: "
            "https://pytorch.org/get-started",
        )


def _cpu(facts: Facts) -> Iterator[Finding]:
    cpu, count = facts.cpu, len(facts.cpu.cpus)
    limit = max(MAX_FOREIGN_CPUS, MAX_FOREIGN_SHARE * count)
    if facts.foreign_cpus is None:
        yield Finding(
            "/proc/stat does not tell how busy the CPUs are: foreign work goes unnoticed",
            "make sure by other means that nothing else computes",
        )
    elif facts.foreign_cpus > limit:
        yield Finding(
            f"others compute: {facts.foreign_cpus:.2f} of {count} CPUs just now",
            "stop them, or keep them off some CPUs and start with taskset on those",
        )
    if cpu.load_average is not None and cpu.load_average > MAX_LOAD:
        yield Finding(
            f"load average {cpu.load_average:g} over the last minute on "
            f"{cpu.machine_cpus} CPUs: others compute here, or did until just now",
            "wait until it is below 0.5, or see what runs: top",
        )
    if facts.stolen_cpus is not None and facts.stolen_cpus > MAX_STOLEN_CPUS:
        yield Finding(
            f"the hypervisor gives {facts.stolen_cpus:.2f} of {count} CPUs to other machines",
            "measure on a machine with CPUs of its own; intervals will be wide here",
        )
    if cpu.governors and "powersave" in cpu.governors:
        yield Finding(
            "the governor powersave is in force: clocks may be low, and rise late",
            "cpupower frequency-set -g performance, where you may",
        )
    for core in cpu.shared_cores or ():
        yield Finding(
            f"CPUs {ranges(core)} are threads of one core: what runs on one slows the other",
            f"start with one thread of each core: taskset -c {core[0]}, and keep the others idle",
        )


def _threads(facts: Facts) -> Iterator[Finding]:
    cpu, count = facts.cpu, len(facts.cpu.cpus)
    allowed = count if cpu.quota is None else min(count, cpu.quota)
    if facts.threads > allowed:
        why = f"a quota of {cpu.quota:g} CPUs" if allowed < count else f"{count} CPUs"
        yield Finding(
            f"{facts.threads} threads on {why}: they wait for each other",
            f"export OMP_NUM_THREADS={max(1, int(allowed))}",
        )
    if cpu.quota is not None and cpu.quota < 1:
        yield Finding(
            f"a quota of {cpu.quota:g} CPUs halts even one thread from time to time",
            "give the container one CPU or more",
        )
    if facts.throttled:
        yield Finding(
            "the quota has just held this process back",
            "use fewer threads, or give the container more CPU",
        )
    if cpu.swap_used_bytes is not None and cpu.swap_used_bytes > MAX_SWAP_BYTES:
        yield Finding(
            f"swap is in use: {cpu.swap_used_bytes / 2**20:,.0f} MiB",
            "free memory; a model or data that come back from disk are slow for no fault of theirs",
        )


def _gpu(facts: Facts) -> Iterator[Finding]:
    gpu = facts.gpu
    if gpu is None:
        yield Finding(
            f"nothing can be read of the GPU, so foreign work goes unnoticed: {facts.gpu_unknown}",
            "pip install 'metaformer-search[gpu]'; in a container, allow the utility capability "
            "(NVIDIA_DRIVER_CAPABILITIES=compute,utility)",
        )
        return
    yield from _gpu_processes(gpu)
    if gpu.slowdowns:
        yield Finding(
            f"the GPU's clocks are held down: {', '.join(gpu.slowdowns)}",
            "let it cool, and see its limits: nvidia-smi -q -d CLOCK,POWER,PERFORMANCE",
        )
    asked, highest = gpu.application_sm_clock_mhz, gpu.max_sm_clock_mhz
    if "application clocks" in (gpu.clock_reasons or ()) and asked and highest and asked < highest:
        yield Finding(
            f"application clocks hold the GPU at {asked} of {highest} MHz",
            "nvidia-smi -rac, where you may; else the figures are those of this setting",
        )


def _gpu_processes(gpu: GpuReading) -> Iterator[Finding]:
    busy = gpu.utilisation_percent
    if gpu.foreign is None:
        yield Finding(
            f"who else computes on the GPU cannot be told: {gpu.foreign_unknown}",
            "share the host's process ids (docker run --pid=host), or see that it is yours alone",
        )
    for process in gpu.foreign or ():
        does = "computes on the GPU"
        if gpu.idle_unknown:
            whole = gpu.idle_unknown if busy is None else f"the GPU as a whole is {busy}% busy"
            does = f"has a context on the GPU and may compute: {whole}"
        yield Finding(f"{_named(process)} {does}", "wait for it, or take another GPU")
    for process in gpu.idle:
        memory = process.memory_bytes
        held = "memory" if memory is None else f"{memory / 2**20:,.0f} MiB"
        yield Finding(
            f"{_named(process)} is idle and holds {held} of the GPU",
            "it spoils nothing until it computes; end it where its memory is needed",
        )
    if not gpu.foreign and busy is not None and busy > MAX_UTILISATION_PERCENT:
        yield Finding(
            f"the GPU is {busy}% busy, by nobody who can be seen from here",
            "look from the host: nvidia-smi",
        )


def _named(process: GpuProcess) -> str:
    return f"process {process.pid}" + (f" ({process.name})" if process.name else "")


def _switches(facts: Facts) -> Iterator[Finding]:
    for name, value in facts.variables.items():
        if name in _SPOILING and value not in _NO:
            yield Finding(f"{name}={value} {_SPOILING[name]}", f"unset {name}")
    if not facts.on_gpu:
        return
    override = facts.variables.get("NVIDIA_TF32_OVERRIDE")
    if override is not None:
        yield Finding(
            f"NVIDIA_TF32_OVERRIDE={override} decides on TF32, whatever precision is asked for",
            "unset NVIDIA_TF32_OVERRIDE",
        )
    switched_on = {"matmul": facts.tf32_matmul, "cuDNN": facts.tf32_cudnn}
    names = [name for name, on in switched_on.items() if on]
    if facts.precision == "fp32" and names:
        yield Finding(
            f"TF32 is on for {' and '.join(names)} while fp32 is asked for",
            "search switches it off as it measures; a timer of your own has to: "
            "torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False",
        )
    if facts.cudnn_deterministic:
        yield Finding(
            "cuDNN is confined to deterministic algorithms, which may be slower",
            "torch.backends.cudnn.deterministic = False",
        )
    if facts.cudnn_benchmark:
        yield Finding(
            "cuDNN chooses algorithms by timing, and may choose others in the next process",
            "torch.backends.cudnn.benchmark = False, or measure in several processes",
        )


def _storage(facts: Facts) -> Iterator[Finding]:
    storage = facts.storage
    if storage.trouble:
        words = f"{storage.folder} cannot be written: {storage.trouble}"
        yield Finding(words, "choose another folder: --out FOLDER", stops=True)
    elif storage.lock_trouble:
        words = f"file locks do not work in {storage.folder}: {storage.lock_trouble}"
        yield Finding(words, "choose a folder on a local disk: --out FOLDER", stops=True)
    if storage.free_bytes is not None and storage.free_bytes < MIN_FREE_BYTES:
        yield Finding(
            f"{storage.free_bytes / 2**20:,.0f} MiB are free in {storage.folder}",
            "make room: weights and a study's journal go there",
        )


def _plugins(facts: Facts) -> Iterator[Finding]:
    if facts.plugins_trouble:
        advice = "put the file right, or name another: --plugins FILE"
        yield Finding(facts.plugins_trouble, advice, stops=True)


def _lease(facts: Facts) -> Iterator[Finding]:
    for part, holder in facts.lease_holders.items():
        yield Finding(f"{part} is leased by {holder}", "wait: a measurement here would wait too")
    if not facts.lease_reach.startswith("all users"):
        yield Finding(
            f"a lease of this device keeps away {facts.lease_reach}",
            "see that others do not measure here meanwhile, or make that folder writable for all",
        )
