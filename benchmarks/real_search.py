"""Searches against random search with rejection, on real photographs and this device.

    python benchmarks/real_search.py --data folder:../shared/data/clothing64 --image-size 64 \
        --budget-throughput 900 --trainings 16 --seeds 5 --out FILE

All are the whole of `search run`, worker process included, and differ in what proposes: random
search draws choice by choice and, like the search, measures before it trains. "search, inheriting"
begins each training with the weights of the nearest trained candidate (`train: {inherit: true}`).
Seeds and methods take turns. After each training the best by validation accuracy is scored on the
test split, which nobody selects by; that scoring is not in the wall time. Shown is after how many
trainings and seconds each run reaches the final accuracy of random search with the same seed, by
the test split and by the validation split, which is what a search sees; and the mean validation
accuracy of the second half of the trainings, which depends less on one lucky candidate than the
best does.

FILE continues where it was ended: a run that it holds is not made again.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from optuna.samplers import RandomSampler
from optuna.trial import Trial
from provenance import provenance
from safetensors.torch import load_file

from metaformer import build_backbone, load_spec
from metaformer.errors import SpecError
from metaformer.spec import BackboneSpec
from mixers import load_registry
from search.config.load import load_study
from search.config.study import Budget
from search.data import ImageSet, load_data
from search.scheduling.strategy import Strategy
from search.space.search_space import SearchSpace
from search.storage.records import BaselineRecord, TrialRecord
from search.storage.run_folder import RunFolder
from search.storage.trial_store import TrialStore
from search.study.runner import StudyRunner
from search.training import accuracy
from search.training.config import TrainConfig

MANY = 1000  # trials: the number of trainings ends a run
MAX_RUNS = 5  # of one study


class RandomStrategy(Strategy):
    """Draws choice by choice; what was tried, or cannot be built, is drawn again."""

    def __init__(
        self,
        store: TrialStore,
        space: SearchSpace,
        budget: Budget,
        seed: int,
        check: Callable[[BackboneSpec], None],
        *,
        axes: Sequence[str] = (),
    ) -> None:
        super().__init__(store, space, budget, seed, check, axes=axes)
        self._seeds = random.Random(seed)

    def propose(self, pending: Collection[str] = ()) -> tuple[Trial, BackboneSpec]:
        tried = (record for record in self._store.records if record.state.is_final)
        known = {record.digest for record in tried} | set(pending)
        while True:
            self._store.study.sampler = RandomSampler(seed=self._seeds.getrandbits(32))
            trial = self._store.study.ask()
            try:
                spec = self._space.suggest(trial)
                self._check(spec)
            except SpecError as error:
                self._store.discard(trial, str(error))
                continue
            if spec.digest not in known:
                return trial, spec
            self._store.discard(trial, "a duplicate")


@dataclass(frozen=True)
class Method:
    strategy: type[Strategy]
    inherit: bool = False


RANDOM = "random with rejection"  # what the others are held against
METHODS = {
    RANDOM: Method(RandomStrategy),
    "search": Method(Strategy),
    "search, inheriting": Method(Strategy, inherit=True),
}


@dataclass
class Watch:
    """An observer that scores each new best on the test split, and stops after enough trainings."""

    num_trainings: int
    test: Callable[[], float]
    start: float = field(default_factory=time.monotonic)
    scoring_seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    rejected: int = 0

    def note(self, text: str) -> None: ...

    def phase(self, text: str, number: int | None = None) -> None: ...

    def trial_started(self, number: int, done: int, total: int) -> None: ...

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None:
        if "train" not in record.seconds:
            self.rejected += 1
            return
        before = time.monotonic()
        improved = best is not None and best.number == record.number
        tested = self.curve[-1]["test_accuracy"] if self.curve else None
        self.curve.append(
            {
                "seconds": round(before - self.start - self.scoring_seconds, 1),
                "accuracy": record.accuracy,  # of this candidate, on the validation split
                "validation_accuracy": None if best is None else best.accuracy,
                "test_accuracy": round(self.test(), 4) if improved else tested,
                "rejected": self.rejected,
            }
        )
        self.scoring_seconds += time.monotonic() - before

    def baseline_finished(self, record: BaselineRecord) -> None: ...

    def enough(self) -> bool:
        return len(self.curve) >= self.num_trainings


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    names = ("data", "image_size", "budget_throughput", "trainings", "epochs")
    settings = {name: getattr(arguments, name) for name in names}
    result: dict[str, Any] = {"provenance": provenance(), "settings": settings, "runs": []}
    if arguments.out is not None and arguments.out.is_file():
        result["runs"] = runs_of(arguments.out, settings)
    done = {(run["method"], run["seed"]) for run in result["runs"]}
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        turn = seed % len(arguments.methods)  # who begins, so that no drift favours one
        for method in arguments.methods[turn:] + arguments.methods[:turn]:
            if (method, seed) in done:
                continue
            run = one_run(arguments, method, seed)
            print(method, seed, run["curve"][-1], flush=True)
            result["runs"].append(run)
            result["summary"] = summary(result["runs"], arguments.methods)
            if arguments.out is not None:
                arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(summary(result["runs"], arguments.methods), indent=1))


def runs_of(file: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    held: dict[str, Any] = json.loads(file.read_text())
    if held["settings"] != settings:
        raise SystemExit(f"{file}: its runs are of {held['settings']}, not of {settings}")
    runs: list[dict[str, Any]] = held["runs"]
    return runs


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--image-size", type=int, required=True)
    parser.add_argument("--budget-throughput", type=float, default=900)
    parser.add_argument("--trainings", type=int, default=16)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def one_run(arguments: argparse.Namespace, method: str, seed: int) -> dict[str, Any]:
    train = {} if arguments.epochs is None else {"epochs": arguments.epochs}
    train |= {"data": arguments.data, "inherit": METHODS[method].inherit}
    study = load_study(
        None,
        {
            "name": "real",
            "budget": {"train": arguments.budget_throughput},
            "measure": {"image_size": arguments.image_size},
            "train": train,
            "search": {"trials": MANY, "seed": seed},
        },
        device="cpu",
    )
    registry = load_registry()
    data = load_data(arguments.data, study.config.train.image_size)
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as out:
        folder = RunFolder(Path(out) / study.config.name)
        watch = Watch(
            arguments.trainings,
            lambda: test_accuracy(folder, study.config.train, data.test),
        )
        for _ in range(MAX_RUNS):  # a study ends where others at work leave nothing measured
            runner = StudyRunner(
                study=study,
                out=Path(out),
                registry=registry,
                device=device,
                observer=watch,
                should_stop=watch.enough,
                strategy=METHODS[method].strategy,
            )
            runner.run()
            if watch.enough():
                break
        else:
            raise SystemExit(f"{method}, seed {seed}: others at work left too little measured")
    return {"method": method, "seed": seed, "curve": watch.curve}


def test_accuracy(folder: RunFolder, config: TrainConfig, test: ImageSet) -> float:
    """0..1, of the best as its two files hold it."""
    model = build_backbone(load_spec(folder.best_spec))
    model.load_state_dict(load_file(folder.best_weights))
    return accuracy(model, test, config, device=torch.device("cpu"))


def summary(runs: list[dict[str, Any]], methods: Sequence[str]) -> dict[str, Any]:
    """Of the seeds that all `methods` have run."""
    by_seed: dict[int, dict[str, list[dict[str, Any]]]] = {}
    for run in runs:
        by_seed.setdefault(run["seed"], {})[run["method"]] = run["curve"]
    whole = [curves for curves in by_seed.values() if set(methods) <= set(curves)]
    found: dict[str, Any] = {"seeds": len(whole)}
    for method in methods if whole else ():
        found[method] = {
            "test_accuracy": compared(whole, method, "test_accuracy"),
            "validation_accuracy": compared(whole, method, "validation_accuracy"),
            "mean_of_second_half": [second_half(curves[method]) for curves in whole],
            "seconds": [curves[method][-1]["seconds"] for curves in whole],
            "rejected": [curves[method][-1]["rejected"] for curves in whole],
        }
    return found


def compared(whole: list[dict[str, list[dict[str, Any]]]], method: str, key: str) -> dict[str, Any]:
    """What random search's final accuracy took, None for seeds that do not come to it."""
    places = []
    for curves in whole:
        goal = curves[RANDOM][-1][key]
        numbers = [n for n, point in enumerate(curves[method], 1) if (point[key] or 0) >= goal]
        places.append(numbers[0] if numbers else None)
    seconds = [
        None if place is None else curves[method][place - 1]["seconds"]
        for place, curves in zip(places, whole, strict=True)
    ]
    final = [curves[method][-1][key] for curves in whole]
    return {
        "final": final,
        "mean": round(statistics.fmean(final), 4),
        "trainings_to_random": places,
        "seconds_to_random": seconds,
    }


def second_half(curve: list[dict[str, Any]]) -> float | None:
    """The mean accuracy of its trainings, as far as they are known; diverged ones learned
    nothing."""
    known = [point["accuracy"] or 0.0 for point in curve[len(curve) // 2 :] if "accuracy" in point]
    return round(statistics.fmean(known), 4) if known else None


if __name__ == "__main__":
    main()
