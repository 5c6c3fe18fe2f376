"""Searches against random feasible networks of the same space, trained alike.

    python benchmarks/search_against_random.py --data folder:../shared/data/clothing64 \
        --image-size 64 --budget-throughput 900 --seeds 5 --random 10 --out FILE

Every search is the real command, `search run`, in a process of its own. A random network is
drawn uniformly, choice by choice, goes through the search's own evaluation (measured, measured
again where it is borderline, trained where it makes the budget) with the seeds of the searches in
turn, and is scored on the same test split.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from provenance import provenance

from metaformer import build_backbone
from mixers import Choice, Domain, OptionValue, load_registry
from search.candidate import CandidateEvaluator
from search.data import load_data
from search.records import TrialRecord, TrialState
from search.space import SearchSpace
from search.study_config import SearchConfig
from search.study_file import load_study
from search.training import accuracy


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    results: dict[str, Any] = {"provenance": provenance(), "searches": [], "random": []}
    for seed in range(arguments.seeds):
        results["searches"].append(search(arguments, seed))
        write(arguments.out, results)
    results["random"] = random_networks(arguments, lambda: write(arguments.out, results), results)
    results["summary"] = summary(results)
    write(arguments.out, results)
    print(json.dumps(results["summary"], indent=2))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--image-size", type=int, required=True)
    parser.add_argument("--budget-throughput", type=float, default=900)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--random", type=int, default=10)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def search(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """What `search run` with this seed found, and how long it took."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "search", "run", "--data", arguments.data),
            *("--image-size", str(arguments.image_size), "--seed", str(seed), "--device", "cpu"),
            *("--budget-throughput", str(arguments.budget_throughput), "--json", "--out", folder),
        ]
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds = time.monotonic() - start
    found = json.loads(done.stdout)
    best = found["best"]
    print(f"search, seed {seed}: test {best['test_accuracy']:.4f} in {seconds:.0f} s", flush=True)
    return {
        "seed": seed,
        "test_accuracy": best["test_accuracy"],
        "validation_accuracy": best["validation_accuracy"],
        "throughput": best["throughput"],
        "stages": best["stages"],
        "trials": found["trials"],
        "wall_seconds": round(seconds, 1),
    }


def random_networks(
    arguments: argparse.Namespace, save: Any, results: dict[str, Any]
) -> list[dict[str, Any]]:
    """Feasible networks drawn uniformly from the default space, trained and scored."""
    study = load_study(
        None,
        {
            "budget": {"train": arguments.budget_throughput},
            "measure": {"image_size": arguments.image_size},
            "train": {"data": arguments.data},
        },
        device="cpu",
    )
    registry = load_registry()
    data = load_data(study.config.train.data, study.config.train.image_size)
    fields = {
        "name": "random",
        "num_classes": data.num_classes,
        "image_size": study.config.train.image_size,
    }
    space = SearchSpace(study.space, registry, fields=fields)
    generator = random.Random(0)
    device = torch.device("cpu")
    found = results["random"]
    while len(found) < arguments.random:
        spec = space.backbone(lambda _name, domain: draw(domain, generator))
        seed = len(found) % arguments.seeds
        config = study.config.model_copy(update={"search": SearchConfig(trials=1, seed=seed)})
        evaluator = CandidateEvaluator(
            config=config,
            registry=registry,
            data=data,
            device=device,
            phase=print,
            note=print,
            check=lambda: None,
        )
        record = TrialRecord(number=len(found), state=TrialState.FAILED)
        weights = evaluator.evaluate(spec, record)
        if weights is None:
            print(f"not feasible: {record.reason}", flush=True)
            continue
        model = build_backbone(spec, registry)
        model.load_state_dict(weights)
        test = accuracy(model, data.test, config.train, device=device)
        found.append(
            {
                "digest": spec.digest,
                "seed": seed,
                "test_accuracy": test,
                "validation_accuracy": record.accuracy,
                "images_per_second": record.measurements[-1]["images_per_second"],
            }
        )
        print(f"random {len(found)}: test {test:.4f}", flush=True)
        save()
    return found


def draw(domain: Domain, generator: random.Random) -> OptionValue:
    assert isinstance(domain, Choice), "the default spaces hold choices only"
    return generator.choice(domain.values)


def summary(results: dict[str, Any]) -> dict[str, float]:
    searched = [item["test_accuracy"] for item in results["searches"]]
    drawn = [item["test_accuracy"] for item in results["random"]]
    return {
        "median_test_accuracy_of_searches": statistics.median(searched),
        "median_test_accuracy_of_random_feasible": statistics.median(drawn),
        "best_test_accuracy_of_random_feasible": max(drawn),
        "median_search_wall_seconds": statistics.median(
            item["wall_seconds"] for item in results["searches"]
        ),
    }


def write(out: Path | None, results: dict[str, Any]) -> None:
    if out is not None:
        out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
