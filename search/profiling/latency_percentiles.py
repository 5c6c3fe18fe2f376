"""Latency percentiles at batch size 1, synchronised after each run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import nn

from search.throughput.protocol import MeasurementProtocol
from search.throughput.sensors import Clock, SystemClock, device_sensors
from search.throughput.workload import make_step, precision_of

WINDOW_RUNS = 10
STABLE = 0.02  # two windows of the warm-up agree within
MOST_WINDOWS = 20
MAX_WARM_UP_SECONDS = 5.0
FEWEST_RUNS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds of a run: the median, and what 90 % and 99 % of the runs did not exceed.

    With fewer than 100 runs the 99 % are the slowest run. `is_warm` is False if the warm-up
    ended before two of its windows agreed.
    """

    median_seconds: float
    p90_seconds: float
    p99_seconds: float
    runs: int
    is_warm: bool


def measure_latency(
    model: nn.Module,
    protocol: MeasurementProtocol,
    *,
    device: torch.device | str | None = None,
    clock: Clock | None = None,
    max_runs: int = 500,
    max_seconds: float = 10.0,
) -> Latency:
    """Of one image through `model` in infer mode; `protocol` gives size, precision and format."""
    device = torch.device(device) if device is not None else next(model.parameters()).device
    single = replace(protocol, mode="infer", batch_size=1)
    with precision_of(single, device):
        return time_runs(
            make_step(model, single, device),
            clock=clock if clock is not None else SystemClock(),
            synchronise=device_sensors(device).synchronise,
            max_runs=max_runs,
            max_seconds=max_seconds,
        )


def time_runs(
    step: Callable[[], None],
    *,
    clock: Clock,
    synchronise: Callable[[], None],
    max_runs: int = 500,
    max_seconds: float = 10.0,
) -> Latency:
    """Times `step` alone, again and again, after it is warm.

    Ends after `max_runs`, or, from 20 runs on, after `max_seconds`.
    """

    def run() -> float:
        synchronise()
        start = clock.now()
        step()
        synchronise()
        return clock.now() - start

    is_warm = _warm_up(run, clock)
    start, seconds = clock.now(), [run()]
    while len(seconds) < max_runs:
        if len(seconds) >= FEWEST_RUNS and clock.now() - start >= max_seconds:
            break
        seconds.append(run())
    return Latency(
        median_seconds=median(seconds),
        p90_seconds=percentile(seconds, 90),
        p99_seconds=percentile(seconds, 99),
        runs=len(seconds),
        is_warm=is_warm,
    )


def _warm_up(run: Callable[[], float], clock: Clock) -> bool:
    """Runs until the medians of two windows running agree; False if that takes too long."""
    start = clock.now()
    run()  # may compile and choose kernels
    before = math.inf
    for _ in range(MOST_WINDOWS):
        window: list[float] = []
        while len(window) < WINDOW_RUNS:
            window.append(run())
            if len(window) > 1 and clock.now() - start > MAX_WARM_UP_SECONDS:
                return False
        now = median(window)
        if abs(now - before) <= STABLE * before and math.isfinite(before):
            return True
        before = now
    return False


def percentile(seconds: Sequence[float], percent: float) -> float:
    """The shortest of the times that at least `percent` % of them do not exceed."""
    ordered = sorted(seconds)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]
