"""Candidates evaluated in a worker process: what happens to it ends up in their records."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from safetensors.torch import load
from torch import Tensor

from metaformer.spec import BackboneSpec
from search.errors import Interrupted
from search.executor.child import Child, WorkerDied
from search.executor.worker import raise_again
from search.records import BaselineRecord, Record, TrialRecord, TrialState

POLLING_SECONDS = 0.1
GRACE_SECONDS = 10.0  # for a worker to come to its next step and stop there


@dataclass
class ChildEvaluator:
    """Evaluates one candidate after the other in a worker that stays warm while it is healthy.

    `start` begins a worker. `phase`, `note` and `log_error` hear what it says; `check` is called
    meanwhile and may raise to stop. What takes longer than `trial_seconds` is ended. `origins` says
    where a candidate's mixers came from, for the record of one whose process dies.
    """

    start: Callable[[], Child]
    phase: Callable[[str], None]
    note: Callable[[str], None]
    log_error: Callable[[str, str], None]
    check: Callable[[], None]
    trial_seconds: float | None = None
    origins: Callable[[BackboneSpec], list[dict[str, str]]] = lambda _spec: []
    now: Callable[[], float] = time.monotonic
    _child: Child | None = field(default=None, init=False)

    def evaluate(self, spec: BackboneSpec, record: TrialRecord) -> dict[str, Tensor] | None:
        """Fills in `record`; the trained weights where the candidate completed."""
        record.spec, record.digest = spec.to_data(), spec.digest
        record.mixers = self.origins(spec)
        return self._run({"do": "evaluate", "spec": record.spec}, record)

    def train(self, spec: BackboneSpec, record: TrialRecord) -> dict[str, Tensor] | None:
        """Trains and scores; the weights, or None where the training diverged."""
        return self._run({"do": "train", "spec": spec.to_data()}, record)

    def foretell(self, spec: BackboneSpec, record: TrialRecord) -> None:
        """Fills in `record` as far as counts and floors go; COMPLETE where they let it pass."""
        self._run({"do": "foretell", "spec": spec.to_data()}, record)

    def measured(self, spec: BackboneSpec, record: TrialRecord) -> None:
        """Fills in `record` up to the training; COMPLETE where it is within all budgets."""
        self._run({"do": "measured", "spec": spec.to_data()}, record)

    def time_training(self, spec: BackboneSpec, record: TrialRecord) -> None:
        """Sets the seconds that a training would take, from some of its steps."""
        self._run({"do": "time_training", "spec": spec.to_data()}, record)

    def compare(self, record: BaselineRecord) -> None:
        """Measures and trains the baseline that `record` names, and fills it in."""
        self._run({"do": "compare"}, record)

    def close(self) -> None:
        """Ends the worker, if there is one."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def _run(self, task: dict[str, Any], record: Record) -> dict[str, Tensor] | None:
        try:
            answer, weights = self._answer({**task, "record": record.to_data()}, self._ready())
        except WorkerDied as death:
            self.close()
            record.state, record.reason = TrialState.LOST, f"its process died: {death}"
            return None
        except TimeoutError as error:
            self.close()
            record.state, record.reason = TrialState.TIMEOUT, str(error)
            return None
        except BaseException:
            self.close()
            raise
        self._take(answer, record)
        return load(weights) if weights else None

    def _take(self, answer: dict[str, Any], record: Record) -> None:
        """Makes `record` what the worker made of it."""
        found = type(record).from_data(answer["record"])
        for entry in fields(record):
            setattr(record, entry.name, getattr(found, entry.name))
        if answer["traceback"] is not None:
            self.log_error(record.title, answer["traceback"])
        if answer["traceback"] is not None or record.state is TrialState.OOM:
            self.close()  # who knows what it left behind

    def _ready(self) -> Child:
        """The worker, a new one where there is none."""
        if self._child is None:
            self.phase("start a worker")
            self._child = self.start()
            while (said := self._hear(self._child)) is None or "ready" not in said[0]:
                continue
        return self._child

    def _answer(self, task: dict[str, Any], child: Child) -> tuple[dict[str, Any], bytes]:
        begun, asked_to_stop = self.now(), None
        child.send(task)
        while True:
            try:
                said = self._hear(child, checking=asked_to_stop is None)
            except Interrupted:
                child.ask_to_stop()
                asked_to_stop = self.now()
                continue
            if said is not None and "record" in said[0]:
                return said
            if asked_to_stop is not None and self.now() - asked_to_stop > GRACE_SECONDS:
                raise Interrupted
            if self.trial_seconds is not None and self.now() - begun > self.trial_seconds:
                raise TimeoutError(f"took longer than the {self.trial_seconds:g} s of a trial")

    def _hear(self, child: Child, *, checking: bool = True) -> tuple[dict[str, Any], bytes] | None:
        """What the worker says next, if it says anything now; its doings are told."""
        if checking:
            self.check()
        said = child.receive(POLLING_SECONDS)
        if said is None:
            return None
        message, _ = said
        if "error" in message:
            raise_again(message)
        for kind, hear in (("phase", self.phase), ("note", self.note)):
            if kind in message:
                hear(message[kind])
        return said
