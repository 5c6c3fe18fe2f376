"""The budgets put to one network in order of cost, counted first; the first miss ends a candidate.

A miss leaves a constraint that says by how much.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TypeAlias, cast

import torch
from torch import nn

from metaformer.counting import count_macs, count_params, training_bytes
from metaformer.errors import SpecError
from metaformer.spec import BackboneSpec
from mixers import MixerRegistry
from search.config.study import StudyConfig
from search.devices import GIB, device_memory_bytes, gigabytes
from search.evaluation._static_bounds import speed_problem, step_bytes
from search.evaluation.measurer import Measurer
from search.evaluation.model_source import ModelSource, model_source_of
from search.formatting import figure, interval, unit
from search.profiling.memory import peak_memory_bytes, release_memory
from search.profiling.roofline import Rates, count_work
from search.storage.records import NOT_BUILDABLE, Record, TrialRecord, TrialState
from search.throughput import Measurement, MeasurementProtocol, Verdict
from search.throughput.protocol import Mode
from search.throughput.workload import make_step, precision_of

MEASURING_SECONDS = 20.0

Check: TypeAlias = Callable[[Record], bool]


@dataclass
class BudgetChecks:
    """Puts one study's budgets to candidates; `phase` hears what is being done."""

    config: StudyConfig
    registry: MixerRegistry
    device: torch.device
    measurer: Measurer
    phase: Callable[[str], None]
    _rates: Rates | None = field(default=None, init=False)

    def passes(self, spec: BackboneSpec, record: TrialRecord) -> bool:
        """Fills in `record` step by step; whether `spec` is within all budgets.

        What a mixer's code raises passes through; the record then stands as far as it came.
        """
        network = model_source_of(spec, self.registry)
        return self.may_pass(spec, record) and all(check(record) for check in self._runs(network))

    def may_pass(self, spec: BackboneSpec, record: TrialRecord) -> bool:
        """Likewise, whether `spec` may be within all budgets, by counts and floors alone."""
        self.phase("build")
        network = model_source_of(spec, self.registry)
        with self.measurer.shared():  # a CPU that measures should not count meanwhile
            try:
                built = self._counted(network, record)
            except SpecError as error:
                record.constraints["buildable"] = NOT_BUILDABLE
                return reject(record, f"cannot be built: {error}")
            counts = [*self._counts(), *self._bounds(network, *built)]
            within = all(check(record) for check in counts)
        return within and self._can_be_fast_enough(network, built[0], record)

    def check_all(self, network: ModelSource, record: Record) -> bool:
        """Puts all budgets to `network`, whichever it misses; `record.reason` says which.

        False if it cannot be built or does not fit the device, or if others at work there
        left no measurement: then `record.state` and `record.reason` say so.
        """
        self.phase("build")
        bounds: list[Check] = []
        with self.measurer.shared():
            try:
                bounds = self._bounds(network, *self._counted(network, record))
            except SpecError as error:
                record.reason = f"cannot be built: {error}"
                return False
            except (RuntimeError, TypeError):  # code that asks for values, which meta lacks
                self._counted(network, record, self.device)
        missed = []
        for check in [*self._counts(), *bounds, *self._runs(network)]:
            if check(record):
                continue
            if record.state is not TrialState.REJECTED:
                return False
            missed.append(record.reason)
        record.reason = "; ".join(missed)
        return True

    def _counted(
        self, network: ModelSource, record: Record, device: torch.device | str = "meta"
    ) -> tuple[nn.Module, nn.Module]:
        """The network as it is measured and as it is trained; `record` gets its counts."""
        start = time.perf_counter()
        size = self.config.measure.image_size
        measured = network.build(size, device)
        trained = network.build(self.config.train.image_size, device)
        record.params = count_params(measured)
        record.macs = count_macs(measured, size, in_channels=network.in_channels)
        record.seconds["build"] = time.perf_counter() - start
        return measured, trained

    def _counts(self) -> list[Check]:
        """The budgets of what was counted; each check says whether its own is kept."""
        budget = self.config.budget
        return [
            lambda record: self._is_at_most("params", record.params or 0, budget.params, record),
            lambda record: self._is_at_most("macs", record.macs or 0, budget.macs, record),
        ]

    def _bounds(self, network: ModelSource, measured: nn.Module, trained: nn.Module) -> list[Check]:
        """Memory checks on the meta device: of the budget, and of the device."""

        @cache
        def needed() -> int:
            protocols = [self._protocol(mode, network.in_channels) for mode in self._modes]
            return max(step_bytes(measured, protocol) for protocol in protocols)

        limit = self.config.budget.memory
        return [
            lambda record: self._is_at_most("memory", needed() / GIB, limit, record),
            lambda record: self._fits(needed(), trained, record),
        ]

    def _runs(self, network: ModelSource) -> list[Check]:
        """Checks for which the network must run; each returns whether it is passed."""
        return [
            *(
                partial(self._is_fast_enough, network, mode, budget)
                for mode, budget in self.config.speeds.items()
            ),
            partial(self._takes_little_memory, network),
        ]

    def _fits(self, needed: int, trained: nn.Module, record: Record) -> bool:
        """Compare the least memory of the steps, `needed` when measured, with the device's
        memory."""
        train = self.config.train
        half = train.precision in ("bf16", "fp16")
        training = training_bytes(trained, train.image_size, train.batch_size, half_precision=half)
        largest, available = max(training, needed), device_memory_bytes(self.device)
        if largest <= available:
            return True
        words = f"needs {gigabytes(largest)} or more, {self.device} has {gigabytes(available)}"
        out_of_memory(record, words)
        return False

    def _can_be_fast_enough(self, network: ModelSource, model: nn.Module, record: Record) -> bool:
        """Rejects what no kernel can run fast enough, before it is built."""
        for mode, budget in self.config.budget.throughput.items():
            if self._rates is None:
                self._rates = self.measurer.rates(self.config.measure.precision)
            if self._rates is None:  # others compute: nothing is certain
                return True
            protocol = self._protocol(mode, network.in_channels)
            with self.measurer.shared():
                work = count_work(model, protocol)
            found = speed_problem(work, protocol, budget, self.device, self._rates)
            if found is not None:
                most, words = found
                record.at_most[mode] = most
                record.constraints[f"throughput.{mode}"] = math.log(budget / most)
                return reject(record, words)
        return True

    def _is_fast_enough(
        self, network: ModelSource, mode: str, budget: float | None, record: Record
    ) -> bool:
        """Measures in that mode, and rejects if a budget is missed."""
        self.phase(f"measure {mode}")
        with self._timed(record):
            measurement = self._measured(network, mode, budget)
        record.measurements.append(measurement.to_data())
        if measurement.verdict is Verdict.CONTAMINATED:
            # not the network's doing: it is tried again
            record.state = TrialState.INTERRUPTED
            record.reason = f"{mode}: no valid sample, others compute on {self.device}"
            return False
        return budget is None or self._keeps(measurement, budget, record)

    def _keeps(self, measurement: Measurement, budget: float, record: Record) -> bool:
        mode, passed = measurement.protocol.mode, measurement.verdict is Verdict.PASS
        shortfall = math.log(budget / measurement.images_per_second)
        name = mode if mode == "latency" else f"throughput.{mode}"
        # a miss that is not proven by the median is a miss all the same
        record.constraints[name] = shortfall if passed else max(shortfall, 1e-6)
        if passed:
            return True
        measured = measurement.to_data()
        found = figure(mode, measurement.images_per_second)
        asked = f"{getattr(self.config.budget, mode):g} {unit(mode)} {interval(measured)}"
        return reject(record, f"{mode}: {found} of {asked}, {measurement.verdict}")

    def _measured(self, network: ModelSource, mode: str, budget: float | None) -> Measurement:
        size = self.config.measure.image_size
        return self.measurer.until_clear(
            lambda: network.build(size, self.device),
            self._protocol(mode, network.in_channels),
            budget,
        )

    def _takes_little_memory(self, network: ModelSource, record: Record) -> bool:
        """Runs the step of each mode that counts, if memory is limited or on the front."""
        if not self.config.measures_memory:
            return True
        self.phase("measure memory")
        with self._timed(record):
            peaks = [self._peak_bytes(network, mode) for mode in self._modes]
        record.peak_memory_bytes = max(peaks)
        peak = record.peak_memory_bytes / GIB
        return self._is_at_most("memory", peak, self.config.budget.memory, record)

    def _peak_bytes(self, network: ModelSource, mode: str) -> int:
        protocol = self._protocol(mode, network.in_channels)
        with self.measurer.leased(), precision_of(protocol, self.device):
            model = network.build(protocol.image_size, self.device)
            peak = peak_memory_bytes(make_step(model, protocol, self.device), self.device)
        release_memory()
        return peak

    @contextmanager
    def _timed(self, record: Record) -> Iterator[None]:
        """Adds to the seconds of measuring, without what others had the device for."""
        start, waited = time.perf_counter(), self.measurer.waited_seconds
        yield
        spent = time.perf_counter() - start - (self.measurer.waited_seconds - waited)
        record.seconds["measure"] = record.seconds.get("measure", 0.0) + spent

    @property
    def _modes(self) -> list[str]:
        """The steps whose memory counts: those whose throughput does, else a training step."""
        return [mode for mode in self.config.speeds if mode != "latency"] or ["train"]

    def _protocol(self, mode: str, in_channels: int) -> MeasurementProtocol:
        asked = self.config.measure
        return MeasurementProtocol(
            mode=cast(Mode, mode),
            batch_size=1 if mode == "latency" else asked.batch_size,
            image_size=asked.image_size,
            in_channels=in_channels,
            precision=asked.precision,
            memory_format=asked.memory_format,
            compile=asked.compile,
            optimizer=asked.optimizer,
            max_seconds=MEASURING_SECONDS,
        )

    def _is_at_most(self, name: str, value: float, limit: float | None, record: Record) -> bool:
        if limit is None:
            return True
        record.constraints[name] = math.log(max(value, 1e-9) / limit)
        if value <= limit:
            return True
        shown = f"{value:,.3f} of {limit:g} GiB" if name == "memory" else f"{value:,} of {limit:,}"
        return reject(record, f"{name}: {shown} allowed")


def reject(record: Record, reason: str) -> bool:
    record.state, record.reason = TrialState.REJECTED, reason
    return False


def out_of_memory(record: Record, reason: str) -> None:
    record.state, record.reason = TrialState.OOM, reason
    record.constraints["memory"] = NOT_BUILDABLE
    release_memory()
