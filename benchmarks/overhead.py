"""What the search itself takes for a trial, training and measuring apart, as a study grows.

    python benchmarks/overhead.py --trials 10 100 1000 10000 --out FILE

A study on the device's default space with so many records continues for some trials, in its real
loop and with a real worker process that answers at once. Told are the median and the quartiles of a
trial, by what it was spent on; what a run takes once, its first proposal included; and the start of
both processes. Sizes take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from overhead_worker import BUDGET, answer
from provenance import provenance

from mixers import load_registry
from search.bayesopt.probe_trial import ProbeTrial
from search.config.load import load_study
from search.config.study import Study
from search.scheduling.strategy import Strategy
from search.space.search_space import SearchSpace
from search.storage.records import TrialRecord, TrialState
from search.storage.run_folder import RunFolder
from search.storage.trial_store import StoredTrial, TrialStore
from search.study import runner as study_module
from search.study.runner import StudyRunner
from search.workers.pool import Workers
from search.workers.process import Child

MANY = 1_000_000  # trials, which no run reaches
STARTS = 3
CPU = "whole, CPU time of the study"  # which others at work on the machine leave alone
PARTS: dict[str, tuple[Any, str]] = {
    "propose": (Strategy, "propose"),
    "worker, there and back": (Workers, "next_answer"),
    "journal and trials.jsonl": (TrialStore, "finish"),
    "weights of a new best": (RunFolder, "keep_weights"),
    "best.yaml": (RunFolder, "settle_best"),
    "summary.json": (RunFolder, "write_summary"),
    "what summary.json holds": (study_module, "summarise"),
    "open the store": (TrialStore, "__init__"),
}


@dataclass
class Clock:
    """Seconds of each part, by trial, and of whole trials; hears the study as its observer."""

    num_trials: int
    now: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    trials: list[dict[str, float]] = field(default_factory=list)
    since: float = field(default_factory=time.perf_counter)
    cpu_since: float = field(default_factory=time.process_time)

    def trial_finished(self, *_arguments: Any) -> None:
        end, cpu_end = time.perf_counter(), time.process_time()
        whole = {CPU: cpu_end - self.cpu_since, "whole": end - self.since}
        self.trials.append({**self.now, **whole})
        self.now.clear()
        self.since, self.cpu_since = end, cpu_end

    def is_over(self) -> bool:
        return len(self.trials) >= self.num_trials

    def note(self, text: str) -> None: ...

    def trial_started(self, number: int, done: int, total: int) -> None: ...

    def phase(self, text: str, number: int | None = None) -> None: ...


class InstantChild(Child):
    module = "overhead_worker"


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    study_module.Child = InstantChild  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as place:
        starts = sorted(_start_seconds(Path(place) / f"start-{i}") for i in range(STARTS))
        places = {size: Path(place) / str(size) for size in arguments.trials}
        for size, out in places.items():
            _fill(out, size)
        runs: dict[int, list[Clock]] = defaultdict(list)
        for _ in range(arguments.rounds):
            for size, out in places.items():
                runs[size].append(_go_on(out, arguments.num_trials))
                print(f"{size} records: {runs[size][-1].trials[-1]['whole']:.3f} s", flush=True)
    rows = [_row(size, runs[size], median(starts)) for size in arguments.trials]
    _print(rows, starts)
    if arguments.out is not None:
        result = {"provenance": provenance(), "process_seconds": starts, "rows": rows}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def _start_seconds(out: Path) -> float:
    """Of a whole `search run` that begins a study and tries nothing."""
    command = [sys.executable, "-m", "search", "run", "--budget-throughput", f"{BUDGET:g}"]
    begin = time.perf_counter()
    subprocess.run(
        [*command, "--device", "cpu", "--time-limit", "0.000000001", "--out", str(out)],
        capture_output=True,
        check=False,
    )
    return time.perf_counter() - begin


def _study() -> Study:
    return load_study(None, {"budget": {"train": BUDGET}, "search": {"trials": MANY}}, device="cpu")


def _go_on(out: Path, num_trials: int) -> Clock:
    """Some trials of the study in `out`, timed."""
    clock = Clock(num_trials)
    runner = StudyRunner(
        study=_study(),
        out=out,
        registry=load_registry(),
        device=torch.device("cpu"),
        observer=clock,
        should_stop=clock.is_over,
    )
    with _timed(clock):
        runner.run()
    return clock


@contextmanager
def _timed(clock: Clock) -> Iterator[None]:
    before = {name: getattr(owner, attribute) for name, (owner, attribute) in PARTS.items()}
    for name, (owner, attribute) in PARTS.items():
        setattr(owner, attribute, _stopped(before[name], name, clock))
    try:
        yield
    finally:
        for name, (owner, attribute) in PARTS.items():
            setattr(owner, attribute, before[name])


def _stopped(function: Callable[..., Any], name: str, clock: Clock) -> Callable[..., Any]:
    @wraps(function)
    def run(*arguments: Any, **more: Any) -> Any:
        begin = time.perf_counter()
        try:
            return function(*arguments, **more)
        finally:
            clock.now[name] += time.perf_counter() - begin

    return run


def _fill(out: Path, size: int) -> None:
    """Begins a study in `out` that has tried `size` random candidates."""
    _go_on(out, 1)
    study = _study()
    fields = {"name": study.config.name, "num_classes": 10, "image_size": 32}
    space = SearchSpace(study.space, load_registry(), fields=fields)
    store = TrialStore(study.config.name, RunFolder(out / study.config.name))
    generator, known = random.Random(0), {record.digest for record in store.records}

    def pick(_name: str, distribution: BaseDistribution) -> Any:
        if isinstance(distribution, CategoricalDistribution):
            return generator.choice(distribution.choices)
        if isinstance(distribution, IntDistribution):
            return generator.randrange(distribution.low, distribution.high + 1, distribution.step)
        raise AssertionError("the default space has choices and integers")

    while len(store.records) < size:
        draft = ProbeTrial(pick)
        spec = space.suggest(draft)
        if spec.digest in known:
            continue
        known.add(spec.digest)
        record = TrialRecord(number=0, state=TrialState.FAILED)
        answer(spec, record)
        own = StoredTrial(record, draft.params, draft.distributions, record.constraints)
        store.adopt(own, {})


def _row(size: int, runs: list[Clock], start: float) -> dict[str, Any]:
    """Seconds of a trial with `size` records, of what comes once in a run, and of both together."""
    later = [trial for clock in runs for trial in clock.trials[1:]]
    first = [clock.trials[0] for clock in runs]
    parts = {
        name: _quartiles([trial.get(name, 0.0) for trial in later])
        for name in [*PARTS, "whole", CPU]
        if name != "open the store"
    }
    opening = _quartiles([trial["open the store"] for trial in first])
    begun = _quartiles([trial["propose"] for trial in first])
    once = _quartiles([trial["whole"] for trial in first])
    return {
        "records": size,
        "trial": parts,
        "open the store": opening,
        "first proposal": begun,
        "first trial, worker's start included": once,
        "a trial with all starts": round(parts["whole"][1] + (start + once[1]) / size, 4),
        "trials": len(later),
    }


def _quartiles(seconds: list[float]) -> list[float]:
    return [round(value, 4) for value in quantiles(seconds, n=4, method="inclusive")]


def _print(rows: list[dict[str, Any]], starts: list[float]) -> None:
    print(f"search run that tries nothing: {median(starts):.1f} s")
    print(f"{'seconds, median [quartiles]':<38}" + "".join(f"{r['records']:>24}" for r in rows))
    for name in rows[0]["trial"]:
        cells = (row["trial"][name] for row in rows)
        print(f"{name:<38}" + "".join(f"{m:>9.4f} [{a:.4f}, {b:.4f}]" for a, m, b in cells))
    for name in ("open the store", "first proposal", "first trial, worker's start included"):
        print(f"{name:<38}" + "".join(f"{row[name][1]:>24.2f}" for row in rows))
    name = "a trial with all starts"
    print(f"{name:<38}" + "".join(f"{row[name]:>24.3f}" for row in rows))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--num-trials", type=int, default=12, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error("--rounds: allowed: 2 or more, since quartiles are told")
    return arguments


if __name__ == "__main__":
    main()
