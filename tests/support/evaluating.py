"""Candidates that are evaluated in this process, measured by a device that a test invents."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from tiny import STUDY, write_study
from torch import nn

from metaformer import BackboneSpec
from mixers import MixerRegistry
from search.config.load import load_study
from search.config.study import Study
from search.data import Splits
from search.evaluation.evaluator import CandidateEvaluator
from search.space.search_space import SearchSpace
from search.storage.records import BaselineRecord, TrialRecord, TrialState
from search.throughput import Measurement, MeasurementProtocol, SystemClock, Verdict

BUDGET = 100.0


def study(text: str = STUDY, **overrides: Any) -> Study:
    return load_study(write_study(text), {"budget": {"train": BUDGET}, **overrides}, device="cpu")


def a_spec(registry: MixerRegistry, width: int = 4) -> BackboneSpec:
    fields = {"name": "x", "num_classes": 10, "image_size": 8}
    space = SearchSpace(study().space, registry, fields=fields)
    choices: dict[str, Any] = {"depth": 1, "width": width, "mixer": "pooling", "pool_size": 3}
    return space.backbone(lambda name, _domain: choices[name.rsplit(".", 1)[-1]])


class FakeMeasure:
    """Answers with the verdicts of a list, the last for ever; keeps what it was asked."""

    def __init__(self, *verdicts: Verdict | None, images_per_second: float = 120.0) -> None:
        self.verdicts = list(verdicts)
        self.images_per_second = images_per_second
        self.asked: list[tuple[MeasurementProtocol, float | None]] = []

    def __call__(
        self,
        model: nn.Module,
        protocol: MeasurementProtocol,
        *,
        budget: float | None,
        device: torch.device,
        clock: SystemClock,
    ) -> Measurement:
        self.asked.append((protocol, budget))
        verdict = self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]
        speed = math.nan if verdict is Verdict.CONTAMINATED else self.images_per_second
        return Measurement(
            protocol=protocol,
            budget=budget,
            images_per_second=speed,
            low=speed * 0.99,
            high=speed * 1.01,
            verdict=verdict,
            block_seconds=(0.1,),
            steps_per_block=1,
            looks=1,
            environment={},
        )


def evaluator(registry: MixerRegistry, digits: Splits, **overrides: Any) -> CandidateEvaluator:
    """One that nobody listens to or stops, of the tiny study where none is given."""
    quiet: dict[str, Any] = {
        "config": study().config,
        "registry": registry,
        "data": digits,
        "device": torch.device("cpu"),
        "phase": lambda _text: None,
        "note": lambda _text: None,
        "check": lambda: None,
        "sleep": lambda _seconds: None,
    }
    return CandidateEvaluator(**{**quiet, **overrides})


def evaluate(
    registry: MixerRegistry,
    digits: Splits,
    measure: FakeMeasure,
    *,
    spec: BackboneSpec | None = None,
    of: Study | None = None,
    phase: Callable[[str], None] = lambda _text: None,
    note: Callable[[str], None] = lambda _text: None,
) -> tuple[TrialRecord, Any]:
    made = evaluator(
        registry,
        digits,
        config=(of or study()).config,
        phase=phase,
        note=note,
        measure=measure,
    )
    record = TrialRecord(number=0, state=TrialState.FAILED)
    weights = made.evaluate(spec or a_spec(registry), record)
    return record, weights


def evaluate_baseline(
    registry: MixerRegistry, digits: Splits, measure: FakeMeasure, name: str, /, **overrides: Any
) -> BaselineRecord:
    made = evaluator(registry, digits, config=study(**overrides).config, measure=measure)
    record = BaselineRecord(name=name, state=TrialState.FAILED)
    made.evaluate_baseline(record)
    return record
