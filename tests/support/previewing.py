"""Candidates of the tiny study judged without running them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from studies import InThisProcess, reject

from metaformer import BackboneSpec
from mixers import installed_mixers
from search.storage.records import NOT_BUILDABLE, TrialRecord, TrialState


@dataclass
class Preview:
    """Wide candidates are too large, pooling is too slow, a training takes 10 s."""

    registry = installed_mixers()

    largest_width: int = 6
    too_slow: str = "pooling"
    raising: str = ""
    unbuildable_width: int = 0
    busy: bool = False
    asked: list[str] = field(default_factory=list)

    def evaluate(self, spec: BackboneSpec, record: TrialRecord) -> None:
        reject(spec, record)

    def precheck(self, spec: BackboneSpec, record: TrialRecord) -> None:
        self.asked.append("precheck")
        record.spec, record.digest = spec.to_data(), spec.digest
        record.params, record.macs = 1000 * spec.stages[0].width, 1
        record.seconds["build"] = 0.5
        if spec.stages[0].width == self.unbuildable_width:
            record.state, record.constraints["buildable"] = TrialState.REJECTED, NOT_BUILDABLE
            return
        wide = spec.stages[0].width > self.largest_width
        record.constraints["params"] = math.log(spec.stages[0].width / self.largest_width)
        record.state = TrialState.REJECTED if wide else TrialState.COMPLETE
        record.reason = "params: too many" if wide else ""

    def measure_only(self, spec: BackboneSpec, record: TrialRecord) -> None:
        self.asked.append("measure_only")
        name = spec.stages[0].mixer[0].name
        if name == self.raising:
            raise KeyError("in a mixer")
        if self.busy:
            record.state, record.reason = TrialState.INTERRUPTED, "train: no valid sample"
            return
        slow = name == self.too_slow
        speed = 0.5 if slow else 2.0
        figures = dict.fromkeys(("images_per_second", "low", "high"), speed)
        verdict = "FAIL" if slow else "PASS"
        record.measurements.append({"mode": "train", "verdict": verdict, **figures})
        record.constraints["throughput.train"] = -math.log(speed)
        record.state = TrialState.REJECTED if slow else TrialState.COMPLETE
        record.reason = "train: too slow" if slow else ""
        record.seconds["measure"] = 2.0

    def time_training(self, spec: BackboneSpec, record: TrialRecord) -> None:
        self.asked.append("time_training")
        record.seconds["train"] = 10.0


@dataclass
class InPreview(InThisProcess):
    """Has candidates judged by a `Preview`, which hears when it is over."""

    def close(self) -> None:
        self.evaluator.asked.append("close")
