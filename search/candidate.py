"""One candidate on its way: free checks, measured throughput, and only then training.

A candidate that misses a budget is answered before it costs more; its constraint says by how
much it missed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from metaformer.backbone import Backbone, build_backbone
from metaformer.counting import cost_of, training_bytes
from metaformer.errors import SpecError
from metaformer.spec import BackboneSpec
from mixers import MixerRegistry
from search.data import Splits
from search.devices import device_memory_bytes, gigabytes, is_out_of_memory
from search.measuring.measurer import Measurer
from search.records import NOT_BUILDABLE, TrialRecord, TrialState
from search.study_config import MeasureConfig, StudyConfig, TrainConfig
from search.throughput import Measurement, Protocol, Verdict, measure
from search.training import Diverged, train_and_score

MEASURING_SECONDS = 20.0


@dataclass
class CandidateEvaluator:
    """Evaluates candidates under one study's settings. `phase` hears what is being done, `note`
    what a user should know; `check` is called between steps and may raise to stop."""

    config: StudyConfig
    registry: MixerRegistry
    data: Splits
    device: torch.device
    phase: Callable[[str], None]
    note: Callable[[str], None]
    check: Callable[[], None]
    measure: Callable[..., Measurement] = measure
    sleep: Callable[[float], None] = time.sleep

    @property
    def _measurer(self) -> Measurer:
        return Measurer(self.device, self.check, self.note, self.sleep, self.measure)

    def evaluate(self, spec: BackboneSpec, record: TrialRecord) -> dict[str, Tensor] | None:
        """Fills in `record` step by step; the trained weights where the candidate completed.

        What a mixer's code raises passes through; the record then stands as far as it came.
        """
        record.spec, record.digest = spec.to_data(), spec.digest
        record.mixers = mixer_origins(spec, self.registry)
        try:
            if not (self._passes_free_checks(spec, record) and self._is_fast_enough(spec, record)):
                return None
            return self.train(spec, record)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._out_of_memory(record, str(error).splitlines()[0])
            return None

    def _passes_free_checks(self, spec: BackboneSpec, record: TrialRecord) -> bool:
        """Counts on the meta device; rejects what cannot be built, misses a budget or memory."""
        self.phase("build")
        start = time.perf_counter()
        measured = self.config.measure
        try:
            model = self._build(spec, measured.image_size, "meta")
            trained = self._build(spec, self.config.train.image_size, "meta")
        except SpecError as error:
            record.constraints["buildable"] = NOT_BUILDABLE
            return self._reject(record, f"cannot be built: {error}")
        cost = cost_of(model).total
        record.params, record.macs = cost.params, cost.macs
        record.seconds["build"] = time.perf_counter() - start
        for name, value in (("params", cost.params), ("macs", cost.macs)):
            limit = getattr(self.config.budget, name)
            if limit is not None:
                record.constraints[name] = math.log(max(1, value) / limit)
                if value > limit:
                    return self._reject(record, f"{name}: {value:,} of {limit:,} allowed")
        needed = self._bytes_needed(model, trained)
        available = device_memory_bytes(self.device)
        if needed > available:
            words = f"needs {gigabytes(needed)} or more, {self.device} has {gigabytes(available)}"
            self._out_of_memory(record, words)
            return False
        return True

    def _bytes_needed(self, measured: Backbone, trained: Backbone) -> int:
        """Memory of the largest training step of the trial, from below."""
        steps: list[tuple[Backbone, TrainConfig | MeasureConfig]] = [(trained, self.config.train)]
        if "train" in self.config.budget.throughput:
            steps.append((measured, self.config.measure))
        return max(
            training_bytes(
                model,
                config.image_size,
                config.batch_size,
                half_precision=config.precision in ("bf16", "fp16"),
            )
            for model, config in steps
        )

    def _is_fast_enough(self, spec: BackboneSpec, record: TrialRecord) -> bool:
        """Measures each budgeted mode; rejects at the first that is missed."""
        for mode, budget in self.config.budget.throughput.items():
            self.phase(f"measure {mode}")
            start = time.perf_counter()
            measurement = self._measure(spec, mode, budget)
            spent = record.seconds.get("measure", 0.0) + time.perf_counter() - start
            record.seconds["measure"] = spent
            record.measurements.append(measurement.to_data())
            if measurement.verdict is Verdict.CONTAMINATED:
                # not the candidate's doing: it is tried again
                record.state = TrialState.INTERRUPTED
                record.reason = f"{mode}: no valid sample, others compute on {self.device}"
                return False
            shortfall = math.log(budget / measurement.images_per_second)
            passed = measurement.verdict is Verdict.PASS
            # a miss that is not proven by the median is a miss all the same
            record.constraints[f"throughput.{mode}"] = shortfall if passed else max(shortfall, 1e-6)
            if not passed:
                return self._reject(
                    record,
                    f"{mode}: {measurement.images_per_second:.0f} of {budget:g} images/s "
                    f"[{measurement.low:.0f}, {measurement.high:.0f}], {measurement.verdict}",
                )
        return True

    def _measure(self, spec: BackboneSpec, mode: str, budget: float) -> Measurement:
        asked = self.config.measure
        protocol = Protocol(
            mode="train" if mode == "train" else "infer",
            batch_size=asked.batch_size,
            image_size=asked.image_size,
            in_channels=spec.in_channels,
            precision=asked.precision,
            memory_format=asked.memory_format,
            compile=asked.compile,
            optimizer=asked.optimizer,
            max_seconds=MEASURING_SECONDS,
        )
        return self._measurer.until_clear(
            lambda: self._build(spec, asked.image_size, self.device), protocol, budget
        )

    def train(self, spec: BackboneSpec, record: TrialRecord) -> dict[str, Tensor] | None:
        """Trains and scores; the weights, or None where the training diverged."""
        self.phase("train")
        with self._measurer.leased():  # a training beside somebody's measurement would spoil it
            return self._train(spec, record)

    def _train(self, spec: BackboneSpec, record: TrialRecord) -> dict[str, Tensor] | None:
        start = time.perf_counter()
        epochs = self.config.train.epochs
        torch.manual_seed(self.config.search.seed)
        model = self._build(spec, self.config.train.image_size, self.device)
        try:
            score = train_and_score(
                model,
                self.data,
                self.config.train,
                device=self.device,
                seed=self.config.search.seed,
                on_epoch=lambda epoch, _loss: self.phase(f"train, epoch {epoch} of {epochs}"),
                check=self.check,
            )
        except Diverged as error:
            record.state, record.reason = TrialState.FAILED, f"diverged: {error}"
            return None
        finally:
            record.seconds["train"] = time.perf_counter() - start
        record.state, record.score = TrialState.COMPLETE, asdict(score)
        return {key: value.detach().cpu() for key, value in model.state_dict().items()}

    def _build(self, spec: BackboneSpec, image_size: int, device: torch.device | str) -> Backbone:
        return build_backbone(spec, self.registry, image_size=image_size, device=device)

    def _reject(self, record: TrialRecord, reason: str) -> bool:
        record.state, record.reason = TrialState.REJECTED, reason
        return False

    def _out_of_memory(self, record: TrialRecord, reason: str) -> None:
        record.state, record.reason = TrialState.OOM, reason
        record.constraints["memory"] = NOT_BUILDABLE
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def mixer_origins(spec: BackboneSpec, registry: MixerRegistry) -> list[dict[str, str]]:
    """Where each mixer of `spec` came from: distribution, version, entry point, origin, files."""
    names = sorted({mixer.name for stage in spec.stages for mixer in stage.block_mixers})
    keys = ("name", "distribution", "version", "entry_point", "origin", "files")
    frozen = (registry[name].frozen() for name in names)
    return [{key: mixer[key] for key in keys if key in mixer} for mixer in frozen]
