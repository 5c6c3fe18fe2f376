"""Others at work on this machine, for benchmarks of what they do to a measurement."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

BURST_SECONDS = (0.3, 1.7)  # of work, and of rest, each drawn again
_ENDS_SECONDS = 5.0

# ends by itself where the benchmark is gone, however that ended
_CODE = """
import os, random, sys, time
import numpy
generator, parent = random.Random(int(sys.argv[1])), os.getppid()
matrix = numpy.ones((256, 256), dtype=numpy.float32)
while os.getppid() == parent:
    end = time.monotonic() + generator.uniform(float(sys.argv[2]), float(sys.argv[3]))
    while time.monotonic() < end:
        matrix @ matrix
    time.sleep(generator.uniform(float(sys.argv[2]), float(sys.argv[3])))
"""


@contextmanager
def bursts(processes: int) -> Iterator[None]:
    """So many processes that compute in bursts of about a second, half of the time each."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    lengths = [str(seconds) for seconds in BURST_SECONDS]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for seed in range(processes):
            command = [sys.executable, "-c", _CODE, str(seed), *lengths]
            running.append(subprocess.Popen(command, env=environment))
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(_ENDS_SECONDS)
