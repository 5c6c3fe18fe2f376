"""How good the share is that `search plan` tells of candidates that make a budget.

    python benchmarks/speed_prediction.py --candidates 160 --out ROWS
    python benchmarks/plan_share.py ROWS --out FILE

The measured candidates of ROWS stand for the space. Many times over, 100 are drawn from them with
replacement and the first so many count as measured, as in a plan; budgets are such that a tenth, a
third and two thirds of ROWS make them. Told are how often the 95 % interval holds the true share,
its mean width and the root mean square error of the share, with predictions and by the measurements
alone; and how many of the candidates that were surely predicted were so wrongly.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance
from speed_prediction import default_space

from metaformer.spec import BackboneSpec
from search.bayesopt.define_by_run import Space
from search.config.study import Budget
from search.devices import require_device
from search.planning.forecast import forecast
from search.planning.proportions import Share, share_of
from search.planning.sampling import Drawn
from search.storage.records import TrialRecord, TrialState

SHARES = (0.1, 1 / 3, 2 / 3)
MEASURED = (12, 24, 48)
DRAWN = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    held = json.loads(arguments.rows.read_text())
    candidates = read(held)
    found = []
    for share in SHARES:
        for measured in MEASURED:
            found.append(judged(candidates, share, measured, arguments.draws))
            print(found[-1], flush=True)
    if arguments.out is not None:
        result = {"provenance": provenance(), "rows_of": held["provenance"], "plans": found}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def read(held: dict[str, Any]) -> list[tuple[BackboneSpec, float]]:
    """Backbones and their seconds per image."""
    space = default_space(require_device(held["device"]))
    drawn = Space(space.realise)
    found = []
    for row in held["rows"]:
        params = drawn.replay(row["params"]) or {}
        spec = space.backbone(lambda name, _domain, own=params: own[name])  # type: ignore[misc]
        found.append((spec, float(row["seconds_per_image"])))
    return found


def judged(
    candidates: list[tuple[BackboneSpec, float]], share: float, measured: int, draws: int
) -> dict[str, Any]:
    seconds = np.array([value for _, value in candidates])
    limit = float(np.quantile(seconds, share))
    truth = float(np.mean(seconds <= limit))
    told: list[Share] = []
    alone: list[Share] = []
    sure, wrong = 0, 0
    for seed in range(draws):
        drawn, first = a_plan(candidates, limit, measured, random.Random(seed))
        found = forecast(drawn, first, Budget(train=1 / limit))
        predicted = found.share(drawn)
        assert predicted is not None, "enough were measured"
        told.append(predicted)
        alone.append(share_of(sum(one.made_the_budget is True for one in first), len(first)))
        for one, prediction in found.predictions.items():
            if prediction.makes_the_budget is not None:
                sure += 1
                wrong += prediction.makes_the_budget is not bool(
                    seconds[one.record.number] <= limit
                )
    return {
        "share": round(truth, 3),
        "measured": measured,
        "predicted": summary(told, truth),
        "measured_alone": summary(alone, truth),
        "sure": sure,
        "surely_wrong": wrong,
    }


def a_plan(
    candidates: list[tuple[BackboneSpec, float]], limit: float, measured: int, draw: random.Random
) -> tuple[list[Drawn], list[Drawn]]:
    numbers = draw.choices(range(len(candidates)), k=DRAWN)
    known = {
        number: Drawn(
            {}, candidates[number][0], TrialRecord(number=number, state=TrialState.COMPLETE)
        )
        for number in numbers
    }
    first = list(known.values())[:measured]
    for one in first:
        seconds = candidates[one.record.number][1]
        one.measured = True
        one.record.state = TrialState.COMPLETE if seconds <= limit else TrialState.REJECTED
        one.record.measurements.append({"mode": "train", "images_per_second": 1 / seconds})
    return [known[number] for number in numbers], first


def summary(shares: list[Share], truth: float) -> dict[str, float]:
    errors = [share.value - truth for share in shares]
    return {
        "held": round(float(np.mean([share.low <= truth <= share.high for share in shares])), 3),
        "width": round(float(np.mean([share.high - share.low for share in shares])), 3),
        "error": round(float(np.sqrt(np.mean(np.square(errors)))), 3),
    }


if __name__ == "__main__":
    main()
