"""What evaluates networks for a study, as the study sees it."""

from __future__ import annotations

from typing import Protocol

from metaformer.spec import BackboneSpec
from search.storage.records import Record
from search.workers.run_task import Answer, Do


class Executor(Protocol):
    """Has candidates and baselines evaluated, here or elsewhere, one or several at a time."""

    @property
    def free(self) -> int:
        """How many more candidates are taken now."""
        ...

    def submit(self, do: Do, spec: BackboneSpec | None, record: Record) -> None: ...

    def next_answer(self) -> Answer:
        """Waits for the next that is done. What goes wrong with a candidate is in its record; what
        is no candidate's doing is raised: UsageError, EnvironmentProblem, KeyboardInterrupt."""
        ...

    def close(self) -> None: ...
