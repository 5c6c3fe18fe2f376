"""How long it takes to find the mixers among many installed distributions.

    python benchmarks/scan.py --distributions 450 --runs 20 --out FILE

Makes a folder of distributions (METADATA, RECORD, entry_points.txt where there are entry points),
one in ten of them with two mixers, puts it on the import path of fresh processes, and times the
first `mixers.load_registry()` of each, after imports. Whatever else is installed counts too, and
files are in the cache of the operating system, as on a machine that has been used before.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from provenance import provenance

_CODE = """
import json, sys, time
import mixers
from importlib.metadata import distributions
began, computing = time.perf_counter(), time.process_time()
registry = mixers.load_registry()
seconds, busy = time.perf_counter() - began, time.process_time() - computing
assert "torch" not in sys.modules
print(json.dumps([seconds, busy, len(registry.names()), len(list(distributions()))]))
"""
_MODULES = 30  # files of a distribution, a line each in its RECORD
_EVERY = 10  # so many distributions have one with mixers


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.distributions):
            install(Path(folder), number)
        runs = [timed(folder) for _ in range(arguments.runs + 1)][1:]  # the first fills the cache
    milliseconds = sorted(1000 * run[0] for run in runs)
    figures = {
        "median_milliseconds": round(statistics.median(milliseconds), 2),
        "median_cpu_milliseconds": round(statistics.median(1000 * run[1] for run in runs), 2),
        "lowest_milliseconds": round(milliseconds[0], 2),
        "highest_milliseconds": round(milliseconds[-1], 2),
        "mixers": runs[0][2],
        "distributions": runs[0][3],
        "load_average": round(os.getloadavg()[0], 1),  # of the machine, at the end
    }
    print(*(f"{key} {value}" for key, value in figures.items()), sep="\n")
    if arguments.out is not None:
        settings = {"distributions": arguments.distributions, "runs": arguments.runs}
        result = {"provenance": provenance(), "settings": settings, **figures}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--distributions", type=int, default=450)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def install(folder: Path, number: int) -> None:
    """The metadata of one distribution; its modules are never imported and need not be there."""
    name = f"distribution_{number}"
    info = folder / f"{name}-1.{number}.dist-info"
    info.mkdir()
    requires = "".join(f"Requires-Dist: package-{n}>=1\n" for n in range(8))
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.{number}\n{requires}"
    (info / "METADATA").write_text(f"{head}Requires-Dist: metaformer-search\n\n{'text ' * 800}\n")
    digest = "sha256=" + "a" * 43
    files = "".join(f"{name}/module_{n}.py,{digest},1000\n" for n in range(_MODULES))
    (info / "RECORD").write_text(files)
    if number % _EVERY == 0:
        mixers = "".join(f"mixer_{number}_{n} = {name}:Mixer\n" for n in range(2))
        (info / "entry_points.txt").write_text(f"[metaformer.mixers]\n{mixers}")


def timed(folder: str) -> tuple[float, float, int, int]:
    """Seconds, CPU seconds, and the mixers and distributions that a fresh process finds."""
    path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), folder)))
    with tempfile.TemporaryDirectory() as empty:  # no plugins.toml
        done = subprocess.run(
            [sys.executable, "-c", _CODE],
            cwd=empty,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
    seconds, busy, mixers, distributions = json.loads(done.stdout)
    return seconds, busy, mixers, distributions


if __name__ == "__main__":
    main()
