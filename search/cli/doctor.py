"""`search doctor`: what a measurement here rests on, and what would spoil it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.cli.errors import ExitCode, user_errors
from search.cli.output import echo
from search.cli.parameters import measured_device

if TYPE_CHECKING:
    from search.doctor import Facts, Finding

_UNKNOWN = "–"


@click.command()
@measured_device
@click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "bf16", "fp16"]),
    help="Precision of the planned measurement, checked against TF32's switches.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="runs",
    show_default=True,
    help="Folder for results, checked for space and locks.",
)
@click.option(
    "--plugins", type=click.Path(), help="plugins.toml to use.  [default: ./plugins.toml]"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def doctor(
    device: str, precision: str | None, out: Path, plugins: str | None, as_json: bool
) -> None:
    """Report device, versions and switches, and what would spoil a measurement here.

    Sets nothing. Exit code 4 only if nothing can be measured or kept: no such device, a
    plugins.toml that cannot stand, a folder that cannot be written or locked. Else 0.
    """
    with user_errors():
        from search.doctor import examine, findings

        facts = examine(device, precision=precision, out=out, plugins=plugins)
        found = findings(facts)
        if as_json:
            data = {**facts.to_data(), "findings": [finding.to_data() for finding in found]}
            echo(json.dumps(data, indent=2))
        else:
            echo("\n".join([*_as_lines(facts), "", *_found(found)]))
    if any(finding.stops for finding in found):
        sys.exit(ExitCode.ENVIRONMENT)


def _as_lines(facts: Facts) -> Iterator[str]:
    rows = [
        ("machine", [f"{facts.host}, {facts.system}", *_surroundings(facts)]),
        ("device", _device(facts)),
        ("CPU", _cpu(facts)),
        ("threads", _threads(facts)),
        ("others", _others(facts)),
        ("lease", _lease(facts)),
        ("versions", _versions(facts)),
        ("numerics", _numerics(facts)),
        ("variables", [f"{name}={value}" for name, value in facts.variables.items()] or ["none"]),
        ("mixers", _mixers(facts)),
        ("storage", _storage(facts)),
    ]
    for label, lines in rows:
        for index, line in enumerate(lines):
            yield f"{label if index == 0 else '':11}{line}"


def _found(found: list[Finding]) -> Iterator[str]:
    if not found:
        yield "Nothing that would spoil a measurement."
        return
    yield "What would spoil a measurement:"
    for finding in found:
        yield f"  {'STOP' if finding.stops else 'warn'}  {finding.problem}"
        yield f"        do: {finding.advice}"


def _surroundings(facts: Facts) -> list[str]:
    cpu = facts.cpu
    words = ["virtual" if cpu.virtual else "", f"in {cpu.container}" if cpu.container else ""]
    said = ", ".join(word for word in words if word)
    return [said] if said else []


def _device(facts: Facts) -> list[str]:
    gpu = facts.gpu
    if not facts.on_gpu:
        others = f"; CUDA devices: {', '.join(facts.cuda_devices)}" if facts.cuda_devices else ""
        return [f"{facts.device}{others}"]
    if gpu is None:
        return [f"{facts.device}, driver {_or(facts.driver)}", f"unknown: {facts.gpu_unknown}"]
    return [
        f"{facts.device}, {_or(gpu.name)}, {gpu.uuid}, driver {_or(gpu.driver)}",
        f"SM {_or(gpu.sm_clock_mhz)} of {_or(gpu.max_sm_clock_mhz)} MHz "
        f"(application {_or(gpu.application_sm_clock_mhz)}), "
        f"memory {_or(gpu.memory_clock_mhz)} of {_or(gpu.max_memory_clock_mhz)} MHz; "
        f"clocks by: {', '.join(gpu.clock_reasons or ()) or _UNKNOWN}",
        f"{_or(gpu.temperature_celsius)} °C, {_or(gpu.power_watts)} of "
        f"{_or(gpu.power_limit_watts)} W, {_or(gpu.utilisation_percent)}% busy, "
        f"MIG {_on(gpu.mig)}, persistence {_on(gpu.persistence)}",
    ]


def _cpu(facts: Facts) -> list[str]:
    from search.hardware.cpu import ranges

    cpu = facts.cpu
    governor = ", ".join(cpu.governors or ()) or "unknown"
    return [
        f"{cpu.name}, CPUs {ranges(cpu.cpus)} of {_or(cpu.machine_cpus)}",
        f"{_or(cpu.frequency_mhz)} MHz, governor {governor}, quota {cpu.quota or 'none'}",
    ]


def _threads(facts: Facts) -> list[str]:
    return [f"torch {facts.threads}, OMP_NUM_THREADS {facts.variables.get('OMP_NUM_THREADS', '–')}"]


def _others(facts: Facts) -> list[str]:
    busy = "unknown" if facts.foreign_cpus is None else f"{facts.foreign_cpus:.2f}"
    stolen = "unknown" if facts.stolen_cpus is None else f"{facts.stolen_cpus:.2f}"
    lines = [f"{busy} CPUs just now, stolen {stolen}, load average {_or(facts.cpu.load_average)}"]
    if facts.gpu is not None and facts.gpu.foreign is not None:
        idle = len(facts.gpu.idle)
        words = f"{len(facts.gpu.foreign) + idle} foreign processes on the GPU"
        lines.append(words + (f", {idle} of them idle" if idle else ""))
    return lines


def _lease(facts: Facts) -> list[str]:
    held = [f"{part}: {holder}" for part, holder in facts.lease_holders.items()]
    return [*(held or ["free"]), f"keeps away {facts.lease_reach}"]


def _versions(facts: Facts) -> list[str]:
    named = [f"{name} {_or(said)}" for name, said in facts.versions.items()]
    return [", ".join(named[index : index + 4]) for index in range(0, len(named), 4)]


def _numerics(facts: Facts) -> list[str]:
    return [
        f"TF32: matmul {_on(facts.tf32_matmul)}, cuDNN {_on(facts.tf32_cudnn)}; cuDNN: "
        f"benchmark {_on(facts.cudnn_benchmark)}, deterministic {_on(facts.cudnn_deterministic)}"
    ]


def _mixers(facts: Facts) -> list[str]:
    refused = [f"{plugin.name} {plugin.state}: {plugin.reason}" for plugin in facts.plugins]
    return [f"{facts.active_mixers} active", *refused]


def _storage(facts: Facts) -> list[str]:
    storage = facts.storage
    free = _UNKNOWN if storage.free_bytes is None else f"{storage.free_bytes / 2**30:.1f} GiB free"
    state = storage.trouble or storage.lock_trouble or "can be written, locks work"
    return [f"{storage.folder}: {free}, {state}"]


def _or(value: object) -> str:
    return _UNKNOWN if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _on(value: bool | None) -> str:
    return _UNKNOWN if value is None else "on" if value else "off"
