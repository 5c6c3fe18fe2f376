"""The budgets put to one candidate in order of cost, counted first; the first miss ends it.

A miss leaves a constraint that says by how much.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import torch

from metaformer.backbone import Backbone, build_backbone
from metaformer.counting import cost_of, training_bytes
from metaformer.errors import SpecError
from metaformer.spec import BackboneSpec
from mixers import MixerRegistry
from search.devices import device_memory_bytes, gigabytes
from search.measuring.free_checks import speed_problem, step_bytes
from search.measuring.measurer import Measurer
from search.records import NOT_BUILDABLE, TrialRecord, TrialState
from search.speed_words import figure, interval, unit
from search.study_config import StudyConfig
from search.throughput import Measurement, Protocol, Verdict
from search.throughput.floors import Rates, count_work
from search.throughput.memory import peak_memory_bytes, release_memory
from search.throughput.protocol import Mode
from search.throughput.workload import make_step, precision_of

MEASURING_SECONDS = 20.0
GIB = 2**30


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
        self.phase("build")
        with self.measurer.shared():  # a CPU that measures should not count meanwhile
            model = self._counted(spec, record)
        return (
            model is not None
            and self._can_be_fast_enough(model, record)
            and self._is_fast_enough(spec, record)
            and self._takes_little_memory(spec, record)
        )

    def _counted(self, spec: BackboneSpec, record: TrialRecord) -> Backbone | None:
        """The candidate on the meta device; None where it cannot be built or misses a count."""
        start = time.perf_counter()
        try:
            model = self._build(spec, self.config.measure.image_size, "meta")
            trained = self._build(spec, self.config.train.image_size, "meta")
        except SpecError as error:
            record.constraints["buildable"] = NOT_BUILDABLE
            reject(record, f"cannot be built: {error}")
            return None
        cost = cost_of(model).total
        record.params, record.macs = cost.params, cost.macs
        record.seconds["build"] = time.perf_counter() - start
        budget = self.config.budget
        within = self._is_at_most("params", cost.params, budget.params, record)
        within = within and self._is_at_most("macs", cost.macs, budget.macs, record)
        return model if within and self._fits(model, trained, record) else None

    def _fits(self, measured: Backbone, trained: Backbone, record: TrialRecord) -> bool:
        """What the steps of the trial need at the least, against the budget and the device."""
        channels = measured.in_chans
        needed = max(step_bytes(measured, self._protocol(mode, channels)) for mode in self._modes)
        if not self._is_at_most("memory", needed / GIB, self.config.budget.memory, record):
            return False
        train = self.config.train
        half = train.precision in ("bf16", "fp16")
        training = training_bytes(trained, train.image_size, train.batch_size, half_precision=half)
        largest, available = max(training, needed), device_memory_bytes(self.device)
        if largest <= available:
            return True
        words = f"needs {gigabytes(largest)} or more, {self.device} has {gigabytes(available)}"
        out_of_memory(record, words)
        return False

    def _can_be_fast_enough(self, model: Backbone, record: TrialRecord) -> bool:
        """Rejects what no kernel can run fast enough, before it is built."""
        for mode, budget in self.config.budget.throughput.items():
            if self._rates is None:
                self._rates = self.measurer.rates(self.config.measure.precision)
            if self._rates is None:  # others compute: nothing is certain
                return True
            protocol = self._protocol(mode, model.in_chans)
            with self.measurer.shared():
                work = count_work(model, protocol)
            found = speed_problem(work, protocol, budget, self.device, self._rates)
            if found is not None:
                most, words = found
                record.at_most[mode] = most
                record.constraints[f"throughput.{mode}"] = math.log(budget / most)
                return reject(record, words)
        return True

    def _is_fast_enough(self, spec: BackboneSpec, record: TrialRecord) -> bool:
        """Measures each budgeted mode; rejects at the first that is missed."""
        for mode, budget in self.config.speeds.items():
            self.phase(f"measure {mode}")
            with self._timed(record):
                measurement = self._measured(spec, mode, budget)
            record.measurements.append(measurement.to_data())
            if measurement.verdict is Verdict.CONTAMINATED:
                # not the candidate's doing: it is tried again
                record.state = TrialState.INTERRUPTED
                record.reason = f"{mode}: no valid sample, others compute on {self.device}"
                return False
            if budget is not None and not self._keeps(measurement, budget, record):
                return False
        return True

    def _keeps(self, measurement: Measurement, budget: float, record: TrialRecord) -> bool:
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

    def _measured(self, spec: BackboneSpec, mode: str, budget: float | None) -> Measurement:
        size = self.config.measure.image_size
        return self.measurer.until_clear(
            lambda: self._build(spec, size, self.device),
            self._protocol(mode, spec.in_channels),
            budget,
        )

    def _takes_little_memory(self, spec: BackboneSpec, record: TrialRecord) -> bool:
        """Runs the step of each mode that counts, where memory is limited or on the front."""
        if not self.config.measures_memory:
            return True
        self.phase("measure memory")
        with self._timed(record):
            peaks = [self._peak_bytes(spec, mode) for mode in self._modes]
        record.peak_memory_bytes = max(peaks)
        peak = record.peak_memory_bytes / GIB
        return self._is_at_most("memory", peak, self.config.budget.memory, record)

    def _peak_bytes(self, spec: BackboneSpec, mode: str) -> int:
        protocol = self._protocol(mode, spec.in_channels)
        with self.measurer.leased(), precision_of(protocol, self.device):
            model = self._build(spec, protocol.image_size, self.device)
            peak = peak_memory_bytes(make_step(model, protocol, self.device), self.device)
        release_memory()
        return peak

    @contextmanager
    def _timed(self, record: TrialRecord) -> Iterator[None]:
        """Adds to the seconds of measuring, without what others had the device for."""
        start, waited = time.perf_counter(), self.measurer.waited_seconds
        yield
        spent = time.perf_counter() - start - (self.measurer.waited_seconds - waited)
        record.seconds["measure"] = record.seconds.get("measure", 0.0) + spent

    @property
    def _modes(self) -> list[str]:
        """The steps whose memory counts: those whose throughput does, else a training step."""
        return [mode for mode in self.config.speeds if mode != "latency"] or ["train"]

    def _protocol(self, mode: str, in_channels: int) -> Protocol:
        asked = self.config.measure
        return Protocol(
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

    def _is_at_most(
        self, name: str, value: float, limit: float | None, record: TrialRecord
    ) -> bool:
        if limit is None:
            return True
        record.constraints[name] = math.log(max(value, 1e-9) / limit)
        if value <= limit:
            return True
        shown = f"{value:,.3f} of {limit:g} GiB" if name == "memory" else f"{value:,} of {limit:,}"
        return reject(record, f"{name}: {shown} allowed")

    def _build(self, spec: BackboneSpec, image_size: int, device: torch.device | str) -> Backbone:
        return build_backbone(spec, self.registry, image_size=image_size, device=device)


def reject(record: TrialRecord, reason: str) -> bool:
    record.state, record.reason = TrialState.REJECTED, reason
    return False


def out_of_memory(record: TrialRecord, reason: str) -> None:
    record.state, record.reason = TrialState.OOM, reason
    record.constraints["memory"] = NOT_BUILDABLE
    release_memory()
