"""Measured until the answer is valid and clear, a bounded number of times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import nn

from search.device_lease.lease import Lease
from search.device_lease.lock_files import Holder
from search.device_lease.shared_lease import SharedLease, shared_lease
from search.profiling.roofline import Rates, counts_own_time, measure_rates
from search.throughput import (
    Measurement,
    MeasurementProtocol,
    SystemClock,
    Verdict,
    device_lease,
    device_sensors,
    measure,
)
from search.throughput.protocol import Precision
from search.throughput.timing import Stopwatch
from search.throughput.validity import block_problem, sample_problem

MEASURING_ATTEMPTS = 4
CONTAMINATED_WAIT_SECONDS = 2.0  # before the second attempt, doubled before each further one
CHECK_SECONDS = 0.25  # so often a wait asks whether to stop
MORE_TIME = 2  # what is borderline is measured again with so many times the cap


@dataclass
class Measurer:
    """Measures on one device. `check` is called between steps and may raise to stop; `note` hears
    what a user should know, such as who has the device, but for those who are `known` to use it.
    LeaseTimeout if another process keeps the device for `wait_seconds`. `waited_seconds` is how
    long others have had it by now."""

    device: torch.device
    check: Callable[[], None]
    note: Callable[[str], None]
    sleep: Callable[[float], None]
    measure: Callable[..., Measurement] = measure
    wait_seconds: float = math.inf  # for the lease of the device
    known: Callable[[Holder], bool] = lambda _holder: False
    waited_seconds: float = field(default=0.0, init=False)

    def until_clear(
        self, build: Callable[[], nn.Module], protocol: MeasurementProtocol, budget: float | None
    ) -> Measurement:
        """The measurement of what `build` makes, a new model for each attempt.

        Contaminated, it is taken again after a wait, three times at most; borderline, once with
        twice the cap.
        """
        cap, wait = protocol.max_seconds, 0.0
        for _ in range(MEASURING_ATTEMPTS):
            self._wait(wait)
            with self.leased() as lease:
                measurement = self.measure(
                    build(),
                    protocol,
                    budget=budget,
                    device=self.device,
                    clock=_StoppableClock(self.check),
                )
            facts = {**measurement.environment, "lease": lease.description}
            measurement = replace(measurement, environment=facts)
            if measurement.verdict is Verdict.CONTAMINATED:
                wait = 2 * wait or CONTAMINATED_WAIT_SECONDS
            elif measurement.verdict is Verdict.BORDERLINE and protocol.max_seconds == cap:
                protocol, wait = replace(protocol, max_seconds=MORE_TIME * cap), 0.0
            else:
                break
        return measurement

    def rates(self, precision: Precision) -> Rates | None:
        """Peak rates of the device; None if other processes computed meanwhile."""
        found: list[Rates] = []

        def twice() -> None:  # long enough for the kernel's ticks to tell who else computed
            found.extend(measure_rates(self.device, precision) for _ in range(2))

        with self.leased():
            block = Stopwatch(SystemClock(), device_sensors(self.device)).block(twice, 1)
        shared = block_problem(block) or sample_problem([block])
        if shared and not counts_own_time(self.device):
            return None
        return Rates(
            macs_per_second=max(rates.macs_per_second for rates in found),
            bytes_per_second=max(rates.bytes_per_second for rates in found),
            cache_bytes=found[0].cache_bytes,
        )

    @contextmanager
    def leased(self) -> Iterator[Lease]:
        """The device for this process alone; others that ask for it wait, as this one does."""
        with device_lease(
            self.device,
            wait_seconds=self.wait_seconds,
            on_wait=self.note,
            check=self.check,
            known=self.known,
        ) as lease:
            self.waited_seconds += lease.waited_seconds
            yield lease

    @contextmanager
    def shared(self) -> Iterator[SharedLease]:
        """The device next to others that compute there; whoever measures waits, or is waited
        for."""
        with shared_lease(
            self.device, on_wait=self.note, check=self.check, known=self.known
        ) as lease:
            try:
                yield lease
            finally:
                self.waited_seconds += lease.waited_seconds

    def _wait(self, seconds: float) -> None:
        """Leaves whoever else computes here the time to end."""
        self.check()
        if seconds:
            self.note(f"others compute on {self.device}: measured again after {seconds:g} s")
        for _ in range(round(seconds / CHECK_SECONDS)):
            self.sleep(CHECK_SECONDS)
            self.check()


class _StoppableClock(SystemClock):
    """The machine's clock, which asks at every reading whether to stop."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def now(self) -> float:
        self._check()
        return super().now()
