"""How long it takes from a spec to its verdict, in a process that is warm.

    python benchmarks/spec_to_verdict.py --candidates 100 --out FILE

Candidates are drawn uniformly from the default space of the device. Timed is all that a search
does with one before it trains: counting on the meta device, the floor, building, warming up, and
blocks until the verdict. The budget is `--budget-throughput`, a training step in eager mode; far is
what was measured at 10 % or more from it, or rejected without a measurement.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from provenance import provenance

from metaformer.errors import SpecError
from mixers import Choice, Domain, load_registry
from mixers.options import OptionValue
from search.config.load import load_study
from search.devices import require_device
from search.evaluation.budget_checks import BudgetChecks
from search.evaluation.measurer import Measurer
from search.space.search_space import SearchSpace
from search.storage.records import TrialRecord, TrialState
from search.throughput import Measurement, measure

FAR = 0.1  # of the budget


def main() -> None:
    arguments = _arguments()
    torch.set_num_threads(1)
    device = require_device(arguments.device)
    rows = timed_verdicts(
        device,
        budget=arguments.budget_throughput,
        candidates=arguments.candidates,
        seed=arguments.seed,
        deadline_seconds=arguments.deadline,
    )
    for row in rows:
        print(*row.values(), flush=True)
    found = summary(rows)
    print(json.dumps(found, indent=1))
    if arguments.out is not None:
        settings = {"budget": {"train": arguments.budget_throughput}, "seed": arguments.seed}
        result = {"provenance": provenance(), "settings": settings, "summary": found, "rows": rows}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--budget-throughput", type=float, default=900.0)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--deadline", type=float, help="Seconds after which no candidate begins.")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def timed_verdicts(
    device: torch.device,
    *,
    budget: float,
    candidates: int,
    seed: int = 0,
    deadline_seconds: float | None = None,
) -> list[dict[str, Any]]:
    """A row for each candidate that can be built; the first, which warms up, is left out."""
    study = load_study(None, {"budget": {"train": budget}}, device=str(device))
    registry = load_registry()
    size = study.config.train.image_size
    fields = {"name": "drawn", "num_classes": 10, "image_size": size}
    space = SearchSpace(study.space, registry, fields=fields)
    attempts: list[Measurement] = []

    def measured(*arguments: Any, **options: Any) -> Measurement:
        attempts.append(measure(*arguments, **options))
        return attempts[-1]

    measurer = Measurer(device, check=lambda: None, note=print, sleep=time.sleep, measure=measured)
    checks = BudgetChecks(study.config, registry, device, measurer, phase=lambda _text: None)
    generator = random.Random(seed)
    begun = time.monotonic()
    rows: list[dict[str, Any]] = []
    while len(rows) <= candidates:
        if deadline_seconds is not None and time.monotonic() - begun > deadline_seconds:
            break
        try:
            spec = space.backbone(lambda _name, domain: _draw(domain, generator))
        except SpecError:  # legal values that make no backbone together
            continue
        record = TrialRecord(number=len(rows), state=TrialState.COMPLETE)
        attempts.clear()
        start = time.perf_counter()
        checks.passes(spec, record)
        seconds = time.perf_counter() - start
        if "buildable" not in record.constraints:
            rows.append(_row(record, seconds, budget, attempts))
    return rows[1:]


def _row(
    record: TrialRecord, seconds: float, budget: float, attempts: list[Measurement]
) -> dict[str, Any]:
    measured = record.measurement("train")
    median = None if measured is None else measured["images_per_second"]
    return {
        "verdict": measured["verdict"] if measured is not None else record.state.value,
        "images_per_second": median,
        "far": median is None or abs(median / budget - 1) >= FAR,
        "seconds": round(seconds, 3),
        "warm_up_seconds": None if measured is None else measured["warm_up_seconds"],
        "measured_seconds": None
        if measured is None
        else round(sum(measured["block_seconds"]) * measured["steps_per_block"], 3),
        "discarded": sum(attempt.discarded_blocks for attempt in attempts),
        "restarts": sum(attempt.restarts for attempt in attempts),
        "attempts": [attempt.verdict for attempt in attempts],
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Seconds from spec to verdict, far from the budget and near it."""
    found: dict[str, Any] = {}
    for name, far in (("far", True), ("near", False)):
        seconds = [row["seconds"] for row in rows if row["far"] is far]
        found[name] = {"candidates": len(seconds)}
        if seconds:
            p50, p95 = np.percentile(seconds, (50, 95))
            found[name] |= {
                "p50_seconds": round(float(p50), 3),
                "p95_seconds": round(float(p95), 3),
                "max_seconds": max(seconds),
            }
    found["contaminated"] = sum(row["verdict"] == "CONTAMINATED" for row in rows)
    return found


def _draw(domain: Domain, generator: random.Random) -> OptionValue:
    assert isinstance(domain, Choice), "the default spaces hold choices only"
    return generator.choice(domain.values)


if __name__ == "__main__":
    main()
