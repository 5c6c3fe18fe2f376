"""Studies run in this process: an observer that listens, evaluations that cost nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny import write_study
from torch import Tensor

from metaformer import BackboneSpec
from mixers import MixerRegistry
from search.config.load import load_study
from search.config.study import Study
from search.storage.records import BaselineRecord, Record, TrialRecord, TrialState
from search.study.runner import StudyRunner
from search.workers.interface import TaskKind, TaskResult
from search.workers.run_task import attempt

CPU = torch.device("cpu")


@dataclasses.dataclass
class Heard:
    """An observer that keeps what it heard."""

    notes: list[str] = dataclasses.field(default_factory=list)
    finished: list[TrialRecord] = dataclasses.field(default_factory=list)
    baselines: list[BaselineRecord] = dataclasses.field(default_factory=list)
    phases: list[str] = dataclasses.field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def trial_started(self, number: int, done: int, total: int) -> None: ...

    def phase(self, text: str, number: int | None = None) -> None:
        self.phases.append(text)

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None:
        self.finished.append(record)

    def baseline_finished(self, record: BaselineRecord) -> None:
        self.baselines.append(record)


def runner(
    registry: MixerRegistry,
    *,
    study: Study | None = None,
    heard: Heard | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    **overrides: Any,
) -> StudyRunner:
    return StudyRunner(
        study=study or load_study(write_study(), overrides, device="cpu"),
        out=Path("runs"),
        registry=registry,
        device=CPU,
        observer=heard or Heard(),
        should_stop=should_stop,
    )


@dataclasses.dataclass
class InThisProcess:
    """An executor that evaluates when it is asked for the answer; `log_error` hears tracebacks."""

    evaluator: Any
    log_error: Callable[[str, str], None]
    submitted: list[tuple[TaskKind, BackboneSpec | None, Record]] = dataclasses.field(
        default_factory=list
    )

    @property
    def free(self) -> int:
        return 1 - len(self.submitted)

    def submit(self, do: TaskKind, spec: BackboneSpec | None, record: Record) -> None:
        self.submitted.append((do, spec, record))

    def next_answer(self) -> TaskResult:
        do, spec, record = self.submitted.pop()
        weights, trace = attempt(getattr(self.evaluator, do), spec, record, self.evaluator.registry)
        if trace is not None:
            self.log_error(record.title, trace)
        return record, weights

    def close(self) -> None: ...


Evaluate = Callable[[BackboneSpec, TrialRecord], dict[str, Tensor] | None]


def reject(_spec: BackboneSpec, record: TrialRecord) -> None:
    record.state, record.reason = TrialState.REJECTED, "too slow"
    speed = 0.5 + record.number / 100
    record.constraints["throughput.train"] = 0.5 - record.number / 100
    figures = dict.fromkeys(("images_per_second", "low", "high"), speed)
    record.measurements.append({"mode": "train", "verdict": "FAIL", **figures})
