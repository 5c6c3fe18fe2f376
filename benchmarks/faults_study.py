"""The study of `faults.py`: real, small, over a fixed list of candidates, and what holds of it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from safetensors.torch import load_file

from search.storage.journal import exclusive, open_journal
from search.storage.records import TrialRecord
from search.storage.run_folder import RunFolder
from search.storage.trial_store import TrialStore
from search.study.summary import best_of

NAME = "faults"
# a budget that is counted: a measured one could fail for what else runs on the machine
STUDY = """\
schema: 1
name: faults
budget: {params: 1000}
measure: {image_size: 8, batch_size: 4}
train: {data: digits, image_size: 8, batch_size: 64, epochs: EPOCHS}
search: {trials: 16}
space:
  stem: {kernel_size: 2, stride: 2, norm: batch_norm}
  stages:
    - depth: {choice: [1, 2]}
      width: {choice: [4, 6, 8, 12]}
      block: metanext
      mixer: {choice: [identity, {pooling: {pool_size: 3}}]}
      norm: batch_norm
  head: {norm: layer_norm}
"""
CANDIDATES = [
    {"stages.0.depth": depth, "stages.0.width": width, "stages.0.mixer": mixer}
    for mixer, width, depth in itertools.product(("identity", "pooling"), (4, 6, 8, 12), (1, 2))
]
PATIENCE = 600.0  # seconds, for one run of the command

Results = dict[str, tuple[Any, ...]]


@dataclass
class Run:
    """The command in a folder of its own, again and again. `logs` are what each said."""

    place: Path
    epochs: int
    starts: int = 0
    kept: dict[int, str] = field(default_factory=dict)  # final lines once seen, by trial

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.place / "runs" / NAME)

    @property
    def log(self) -> Path:
        """Of the last start."""
        return self.place / f"log-{self.starts}.txt"

    def prepare(self) -> None:
        """Begins the study, tries nothing, and has the candidates wait in its journal."""
        self.place.mkdir(parents=True, exist_ok=True)
        (self.place / "study.yaml").write_text(STUDY.replace("EPOCHS", str(self.epochs)))
        code = self.start("--time-limit", "0.000000001").wait(PATIENCE)
        if code != 3:
            raise RuntimeError(f"the study could not be begun:\n{self.log.read_text()}")
        with exclusive(self.folder.lock, "in use"):
            store = TrialStore(NAME, self.folder)
            for params in CANDIDATES:
                store.study.enqueue_trial(params)

    def start(
        self, *more: str, preexec: Callable[[], None] | None = None
    ) -> subprocess.Popen[bytes]:
        """`search run`, every second time as `search resume`."""
        self.starts += 1
        resume = self.starts % 2 == 0 and self.folder.study.exists()
        verb = ["resume", str(self.folder.path)] if resume else ["run", "study.yaml"]
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "search", *verb, *more],
                cwd=self.place,
                stdout=subprocess.DEVNULL,
                stderr=log,
                preexec_fn=preexec,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def look(self) -> list[str]:
        """Reads the whole lines of trials.jsonl; says which final ones are gone or differ."""
        file = self.folder.trials
        lines = file.read_text().split("\n")[:-1] if file.exists() else []
        found = {json.loads(line)["number"]: line for line in lines}
        final = {n: line for n, line in found.items() if record_of(line).state.is_final}
        problems = [f"trial {n} is gone" for n in self.kept.keys() - final.keys()]
        problems += [
            f"trial {n} differs"
            for n in self.kept.keys() & final.keys()
            if final[n] != self.kept[n]
        ]
        self.kept |= final
        return problems

    def lost_workers(self) -> dict[str, int]:
        """How often the worker of each candidate that is not final yet has died."""
        records = [TrialRecord.from_data(line) for line in self.folder.read_trials()]
        final = {record.digest for record in records if record.state.is_final}
        lost = [r.digest for r in records if r.state == "LOST" and r.digest is not None]
        return {digest: lost.count(digest) for digest in set(lost) - final}

    def lost_studies(self) -> int:
        """How often the study's process has died with a candidate that is not done yet, the most.

        Read from a copy: whoever opens a journal repairs it, and this one is in use.
        """
        with TemporaryDirectory() as place:
            copy = Path(place) / self.folder.journal.name
            shutil.copy(self.folder.journal, copy)
            study = optuna.load_study(study_name=NAME, storage=open_journal(copy))
            unfinished = [t for t in study.get_trials(deepcopy=False) if not t.state.is_finished()]
            return max((int(t.user_attrs.get("abandoned", 0)) for t in unfinished), default=0)

    def results(self) -> Results:
        """State, accuracy, params and MACs of each final candidate, by its digest."""
        records = [TrialRecord.from_data(line) for line in self.folder.read_trials()]
        return {
            str(r.digest): (r.state.value, r.accuracy, r.params, r.macs)
            for r in records
            if r.counts
        }


def record_of(line: str) -> TrialRecord:
    return TrialRecord.from_data(json.loads(line))


def violations(run: Run, reference: Run) -> list[str]:
    """What does not hold of a study that has come to its end, in words."""
    problems = run.look()
    records = [TrialRecord.from_data(line) for line in run.folder.read_trials()]
    final = [record for record in records if record.counts]
    digests = [record.digest for record in final]
    for digest in sorted({str(d) for d in digests if digests.count(d) > 1}):
        problems.append(f"candidate {digest} is counted more than once")
    counted = json.loads(run.folder.summary.read_text())["trials"]["counted"]
    if not counted == len(final) == len(CANDIDATES):
        problems.append(f"{counted} counted, {len(final)} final, of {len(CANDIDATES)}")
    expected, found = reference.results(), run.results()
    problems += [
        f"candidate {digest}: {found.get(digest)}, without faults {expected.get(digest)}"
        for digest in sorted(expected.keys() | found.keys())
        if found.get(digest) != expected.get(digest)
    ]
    names = [{path.name for path in r.folder.path.iterdir()} for r in (run, reference)]
    problems += [f"{name} is left behind" for name in sorted(names[0] - names[1])]
    return problems + _journal_problems(run, records) + _best_problems(run, reference, records)


def _journal_problems(run: Run, records: list[TrialRecord]) -> list[str]:
    """Where the journal, read by Optuna, does not say what trials.jsonl says."""
    study = optuna.load_study(study_name=NAME, storage=open_journal(run.folder.journal))
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    problems = [
        f"trial {number} is {trial.state.name} in the journal"
        for number, trial in trials.items()
        if not trial.state.is_finished()
    ]
    said = {
        number: TrialRecord.from_line(trial.user_attrs["record"]).to_data()
        for number, trial in trials.items()
        if "record" in trial.user_attrs
    }
    lines = {record.number: record for record in records}
    problems += [f"trial {number} is in the journal only" for number in said.keys() - lines.keys()]
    problems += [  # of what was lost with the study's process there is no record
        f"trial {number} differs from the journal"
        for number, record in lines.items()
        if (said[number] != record.to_data() if number in said else record.state.is_final)
    ]
    return problems


def _best_problems(run: Run, reference: Run, records: list[TrialRecord]) -> list[str]:
    """Where best.yaml and best.safetensors are not those of the best."""
    best = best_of(records)
    if best is None or not run.folder.holds(best):
        return ["best.yaml and best.safetensors are not those of the best"]
    there = best_of([TrialRecord.from_data(line) for line in reference.folder.read_trials()])
    assert there is not None
    if best.accuracy != there.accuracy:
        return [f"the best has {best.accuracy}, without faults {there.accuracy}"]
    if best.digest != there.digest:  # one that is as good, and was first here
        return []
    mine, theirs = (load_file(r.folder.best_weights) for r in (run, reference))
    same = mine.keys() == theirs.keys() and all(mine[k].equal(theirs[k]) for k in mine)
    return [] if same else ["the weights of the best differ from those without faults"]
