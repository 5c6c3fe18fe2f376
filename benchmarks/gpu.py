"""Everything that needs a GPU, in one call: each section has its share of the time.

    python benchmarks/gpu.py --seconds 520
    python benchmarks/gpu.py --device cpu --quick        # every section, small: a test of this file

What a section has found is written at once, so that nothing is lost where the run ends early. A
section that raises is recorded with its error, and the next begins; what did not fit is named under
`left_out`. The result lies in `results/`, named after the device and the day.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import re
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from gpu_sections import SECTIONS, Run, Section
from provenance import provenance
from study_rows import as_json

from search.devices import require_device
from search.hardware.nvml import gpu_reader
from search.profiling.memory import release_memory
from search.storage.run_folder import write_atomically
from search.throughput import LeaseTimeout, device_lease
from search.throughput.sensors import environment

RESULTS = Path(__file__).parent / "results"
GRACE_SECONDS = 10.0  # beyond its share, after which a section is interrupted
LEASE_SECONDS = 30.0


class TimeUp(BaseException):
    """A section is interrupted; not an Exception, so that no section takes it for a model's."""


class Report:
    """The result so far, on disk after every change."""

    def __init__(self, file: Path, device: torch.device, arguments: argparse.Namespace) -> None:
        self.file = file
        self.data: dict[str, Any] = {
            "provenance": provenance() | environment(device),
            "settings": {"device": str(device), "quick": arguments.quick},
            "seconds": None,
            "left_out": [],
            "sections": {},
        }
        self.data["provenance"].pop("host", None)
        self.write()

    def write(self) -> None:
        write_atomically(self.file, as_json(_finite(self.data)))


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv)
    torch.set_num_threads(1)
    device = require_device(arguments.device)
    begun = time.monotonic()
    file = arguments.out or RESULTS / default_name(device)
    report = Report(file, device, arguments)
    run = Run(device=device, quick=arguments.quick, end=begun + arguments.seconds)
    with _last_resort(arguments.seconds), ExitStack() as stack:
        try:
            stack.enter_context(device_lease(device, wait_seconds=LEASE_SECONDS))
        except LeaseTimeout as timeout:
            report.data["left_out"].append(f"the lease of the device: {timeout}")
        for section in SECTIONS:
            if section.name in arguments.sections:
                _take(section, run, report, arguments.seconds)
                report.data["seconds"] = round(time.monotonic() - begun, 1)
                report.write()
    print(f"{file}: {report.data['seconds']} s")
    for words in report.data["left_out"]:
        print(f"left out: {words}")
    found = report.data["sections"].values()
    return 1 if any("error" in section for section in found) else 0


def _take(section: Section, run: Run, report: Report, total: float) -> None:
    """One section within its share, or within all that is left where it has none."""
    begun = time.monotonic()
    left = run.end - begun
    if left <= 0:
        report.data["left_out"].append(f"{section.name}: no time")
        return
    share = left if section.share is None else min(left, section.share * total)
    run.deadline = begun + share
    found: dict[str, Any] = {}
    record: dict[str, Any] = {"found": found}
    report.data["sections"][section.name] = record
    try:
        with _interrupted_after(share + GRACE_SECONDS):
            for key, value in section.steps(run):
                found[key] = value
                report.write()
                if time.monotonic() > run.deadline:
                    report.data["left_out"].append(f"{section.name}: what follows {key}")
                    break
    except TimeUp:
        report.data["left_out"].append(f"{section.name}: interrupted after {share:.0f} s")
    except Exception as error:  # noqa: BLE001  # one section must not cost the others
        record["error"] = f"{type(error).__name__}: {error}"
        lines = traceback.format_exc().splitlines()[-12:]
        record["traceback"] = [_without_folders(line) for line in lines]
    report.data["left_out"] += [f"{section.name}: {words}" for words in run.left_out]
    run.left_out = []
    record["seconds"] = round(time.monotonic() - begun, 1)
    record["gpu"] = _gpu(run.device)
    print(f"{section.name}: {record['seconds']} s {record.get('error', '')}", flush=True)
    try:
        release_memory()
    except RuntimeError as error:  # a device that has failed says so at the next section
        record["release"] = str(error)


def _gpu(device: torch.device) -> Any:
    """What NVML says after a section: clocks, heat, power, who else is there."""
    if device.type != "cuda":
        return None
    try:
        reader = gpu_reader(device)
        reading = reader.read()
    except RuntimeError as error:
        return str(error)
    return reader.reason if reading is None else reading.to_data()


@contextmanager
def _interrupted_after(seconds: float) -> Iterator[None]:
    """Raises TimeUp in what takes longer; leaves another's alarm as it was."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise TimeUp

    handler = signal.signal(signal.SIGALRM, interrupt)
    others = signal.setitimer(signal.ITIMER_REAL, seconds)
    begun = time.monotonic()
    try:
        yield
    finally:
        left = max(0.001, others[0] - (time.monotonic() - begun)) if others[0] else 0.0
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, left, others[1])


@contextmanager
def _last_resort(seconds: float) -> Iterator[None]:
    """Ends the process where a device hangs in a call that no signal interrupts."""
    timer = threading.Timer(seconds + 2 * GRACE_SECONDS, lambda: os._exit(1))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def default_name(device: torch.device) -> str:
    """Such as `gpu_nvidia-h100-80gb-hbm3_2026-11-25.json`."""
    name = re.sub(r"[^a-z0-9]+", "-", str(environment(device)["device_name"]).lower()).strip("-")
    kind = "gpu" if device.type == "cuda" else device.type
    return f"{kind}_{name}_{datetime.date.today().isoformat()}.json"


def _without_folders(line: str) -> str:
    """Files as they lie in the repository or in an environment, not on this machine."""
    return re.sub(r'"/[^"]*?/(?=site-packages/|benchmarks/|search/|metaformer/)', '"', line)


def _finite(value: Any) -> Any:
    """JSON knows neither nan nor infinity."""
    if isinstance(value, dict):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [section.name for section in SECTIONS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=520.0, help="for everything")
    parser.add_argument("--quick", action="store_true", help="small models, few of each")
    parser.add_argument("--sections", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--out", type=Path)
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
