"""Interface between a study and what evaluates its networks."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from torch import Tensor

from metaformer.spec import BackboneSpec
from search.storage.records import Record

# a candidate is put to the budgets and trained if it makes them; trained only; put to the
# budgets only; the best is scored on the test split; for a plan, counted only, and its training
# timed; a baseline is measured and trained
TaskKind: TypeAlias = Literal[
    "evaluate", "train", "measure_only", "test", "precheck", "time_training", "evaluate_baseline"
]
Weights: TypeAlias = dict[str, Tensor]
TaskResult: TypeAlias = tuple[Record, Weights | None]  # weights if the candidate completed


class Executor(Protocol):
    """Has candidates and baselines evaluated, here or elsewhere, one or several at a time."""

    @property
    def free(self) -> int:
        """Number of candidates that can be submitted now."""
        ...

    def submit(self, do: TaskKind, spec: BackboneSpec | None, record: Record) -> None: ...

    def next_answer(self) -> TaskResult:
        """Waits for the next that is done. What goes wrong with a candidate is in its record; what
        is no candidate's doing is raised: UsageError, EnvironmentProblem, KeyboardInterrupt."""
        ...

    def close(self) -> None: ...
