"""The folder of one study: what a user finds there, written atomically (crash-safe).

study.yaml         the study, complete, with the mixers frozen into it
journal.log        Optuna's journal, the one source of what was tried
trials.jsonl       one record a trial, made from the journal
baselines.jsonl    one record each time that a baseline was evaluated, if there are any
best.yaml          the best backbone that meets the budget
best.safetensors   its trained weights
trial-N.safetensors  those of the next best, until the best has been measured again
weights/           what candidates may begin with, if they inherit: a file for each backbone
checkpoints/       trainings that were stopped or paused
summary.json       how the study stands
errors.log         tracebacks of candidates that failed
study.lock         held while a process runs the study; journal.lock while one writes the journal
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from metaformer.spec import BackboneSpec
from metaformer.spec_yaml import dump_spec
from metaformer.yaml_tree import write_yaml
from search.atomic_write import PARTIAL, append_line, keep_copy, write_atomically
from search.storage.records import BaselineRecord, Record, TrialRecord, has_checksum


class RunFolder:
    """Paths and writes of one study's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.study = path / "study.yaml"
        self.journal = path / "journal.log"
        self.trials = path / "trials.jsonl"
        self.baselines = path / "baselines.jsonl"
        self.best_spec = path / "best.yaml"
        self.best_weights = path / "best.safetensors"
        self.summary = path / "summary.json"
        self.errors = path / "errors.log"
        self.lock = path / "study.lock"
        self.checkpoints = path / "checkpoints"
        self.inheritable = path / "weights"

    def create(self) -> None:
        """Makes the folder; OSError if that is not possible."""
        self.path.mkdir(parents=True, exist_ok=True)

    def write_study(self, data: dict[str, Any]) -> None:
        write_atomically(self.study, write_yaml(data))

    def write_summary(self, data: dict[str, Any]) -> None:
        write_atomically(self.summary, json.dumps(data, indent=2) + "\n")

    def read_trials(self) -> list[dict[str, Any]]:
        """The records of `trials.jsonl`, a torn last line left out."""
        return [json.loads(line) for line in self._trial_lines()]

    def whole_trials(self) -> list[TrialRecord]:
        """Return the records of `trials.jsonl` that are as they were written.

        Damaged lines are left out, and those without a checksum, which an older version wrote.
        """
        found = []
        for line in self._trial_lines():
            with suppress(ValueError):
                record = TrialRecord.from_line(line)
                if has_checksum(line):
                    found.append(record)
        return found

    def _trial_lines(self) -> list[str]:
        if not self.trials.exists():
            return []
        return self.trials.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]

    def counted_in_summary(self) -> int:
        """Return how many trials counted when summary.json was written; 0 if it cannot be read."""
        try:
            counted = json.loads(self.summary.read_bytes())["trials"]["counted"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return 0
        return counted if type(counted) is int else 0

    def earlier_passed_over(self) -> list[dict[str, Any]]:
        """Return the `passed_over` of summary.json; empty if it cannot be read."""
        try:
            found = json.loads(self.summary.read_bytes())["passed_over"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return []
        return found if isinstance(found, list) else []

    def trial_of_best_weights(self) -> int | None:
        """Return the trial whose weights best.safetensors holds; None if that cannot be read."""
        try:
            with safe_open(self.best_weights, framework="pt") as weights:
                return int((weights.metadata() or {})["trial"])
        except (OSError, SafetensorError, LookupError, ValueError):
            return None

    def write_trials(self, records: Sequence[TrialRecord]) -> None:
        """Make `trials.jsonl` hold exactly these records; untouched if it does already.

        What it held is kept next to it unless all of that is in the new file too.
        """
        text = "".join(_line(record) for record in records).encode()
        old = self.trials.read_bytes() if self.trials.exists() else b""
        if old == text and self.trials.exists():
            return
        if not set(old.split(b"\n")[:-1]) <= set(text.split(b"\n")):
            keep_copy(self.trials)
        write_atomically(self.trials, text)

    def append_trial(self, record: TrialRecord) -> None:
        append_line(self.trials, _line(record))

    def write_baselines(self, records: Sequence[BaselineRecord]) -> None:
        """Makes `baselines.jsonl` hold exactly these records; there is none without any."""
        if records or self.baselines.exists():
            write_atomically(self.baselines, "".join(_line(record) for record in records))

    def append_baseline(self, record: BaselineRecord) -> None:
        append_line(self.baselines, _line(record))

    def log_error(self, title: str, traceback: str) -> None:
        """Keeps the traceback of what `title` names, such as `trial 3`."""
        append_line(self.errors, f"{title}\n{traceback}\n")

    def keep_weights(self, number: int, digest: str, weights: dict[str, Tensor]) -> None:
        """Saves a candidate's weights, to be promoted once its trial is on record."""
        data = save(_each_its_own(weights), metadata={"trial": str(number), "digest": digest})
        write_atomically(self._weights_of(number), data)

    def keep_inheritable(self, digest: str, weights: dict[str, Tensor]) -> None:
        """Saves weights that later candidates may begin with."""
        self.inheritable.mkdir(exist_ok=True)
        write_atomically(self.inheritable / f"{digest}.safetensors", save(_each_its_own(weights)))

    def forget_checkpoints(self) -> None:
        """Removes the state of trainings that nobody will continue with."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def settle_best(self, finalists: Sequence[TrialRecord]) -> bool:
        """Makes best.yaml and best.safetensors those of the first of `finalists`, and clears the
        weights of all but these.

        False if the weights of the first are not there.
        """
        best = finalists[0] if finalists else None
        kept = best is None
        if best is not None and best.spec is not None:
            kept = self._weights_are(best)
            if not kept:
                self._put_back(finalists[1:])
                kept = self._fetch(best)
            spec = BackboneSpec.model_validate(best.spec)
            text = dump_spec(spec)
            if not self.best_spec.exists() or self.best_spec.read_bytes() != text.encode():
                write_atomically(self.best_spec, text)
        others = {self._weights_of(record.number) for record in finalists[1:]}
        for leftover in [*self.path.glob("trial-*.safetensors"), *self.path.glob(f"*{PARTIAL}")]:
            if leftover not in others:
                leftover.unlink(missing_ok=True)
        return kept

    def _put_back(self, others: Sequence[TrialRecord]) -> None:
        """Keeps what is in best.safetensors as that trial's, if it is one of `others`."""
        for record in others:
            if self._weights_are(record):
                os.replace(self.best_weights, self._weights_of(record.number))

    def _fetch(self, best: TrialRecord) -> bool:
        """Makes best.safetensors hold the weights of `best`; whether they are there."""
        if not self._weights_of(best.number).exists():
            weights = self.weights_of(str(best.digest))
            if weights is None:
                return False
            self.keep_weights(best.number, str(best.digest), weights)
        os.replace(self._weights_of(best.number), self.best_weights)
        return True

    def weights_of(self, digest: str) -> dict[str, Tensor] | None:
        """The trained weights of that backbone, wherever the study keeps them; None if not."""
        inherited = self.inheritable / f"{digest}.safetensors"
        for file in [self.best_weights, *self.path.glob("trial-*.safetensors"), inherited]:
            try:
                with safe_open(file, framework="pt") as weights:
                    own = file == inherited or (weights.metadata() or {}).get("digest") == digest
                if own:
                    return load_file(file)
            except (OSError, SafetensorError):
                continue
        return None

    def holds(self, best: TrialRecord | None) -> bool:
        """Return whether best.yaml and best.safetensors are those of `best`."""
        return best is not None and self.best_spec.exists() and self._weights_are(best)

    def _weights_of(self, number: int) -> Path:
        return self.path / f"trial-{number}.safetensors"

    def _weights_are(self, best: TrialRecord) -> bool:
        try:
            with safe_open(self.best_weights, framework="pt") as weights:
                said = weights.metadata() or {}
                return said == {"trial": str(best.number), "digest": str(best.digest)}
        except (OSError, SafetensorError):
            return False


def _each_its_own(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies as safetensors wants them: in one piece, and none that share memory, as tied
    parameters do."""
    return {key: value.clone().contiguous() for key, value in weights.items()}


def _line(record: Record) -> str:
    return record.to_line() + "\n"
