"""How well speeds are predicted from few measurements, on this device.

    python benchmarks/speed_prediction.py --candidates 160 --out FILE
    python benchmarks/speed_prediction.py --evaluate FILE

Candidates are drawn from the device's default space and measured without a budget (an interval
within 1 % or 2 s of measured work). Then, for some numbers of measurements, 20 times: each model
learns from so many at random and predicts the others. Shown are the root mean square relative
error, Kendall's tau, and, at the budget that the fastest third makes: the share ruled out without
measuring, how many of those make it in truth, and how often the 99 % interval holds.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from provenance import provenance
from scipy.stats import kendalltau

from metaformer import build_backbone
from metaformer.counting import cost_of
from metaformer.errors import SpecError
from mixers import load_registry
from search.bayesopt.constraint_model import QuantityModel
from search.bayesopt.define_by_run import Space
from search.bayesopt.encoding import EncodedCandidates, Features
from search.bayesopt.gaussian_process import Array
from search.bayesopt.latency_model import Description, StageTimes
from search.bayesopt.limits import AtMost
from search.config.load import load_study
from search.devices import require_device
from search.evaluation.measurer import Measurer
from search.scheduling.latency_features import describe
from search.space.search_space import SearchSpace
from search.throughput import MeasurementProtocol

NUMBERS = (15, 30, 60, 100)
SPLITS = 20
FAST = 1 / 3


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    if arguments.evaluate is None:
        device = require_device(arguments.device)
        rows = measured(device, arguments.candidates, arguments.mode)
        result = {"provenance": provenance(), "mode": arguments.mode, "rows": rows}
    else:
        result = json.loads(arguments.evaluate.read_text())
        device = require_device(result.get("device", arguments.device))
    result["device"] = str(device)
    result["summary"] = evaluated(result["rows"], default_space(device), print)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--candidates", type=int, default=160)
    parser.add_argument("--mode", choices=["train", "infer"], default="train")
    parser.add_argument("--evaluate", type=Path, help="measure nothing, read this file")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def default_space(device: torch.device) -> SearchSpace:
    study = load_study(None, {"budget": {"train": 1.0}}, device=str(device))
    fields = {"name": "drawn", "num_classes": 10, "image_size": study.config.train.image_size}
    return SearchSpace(study.space, load_registry(), fields=fields)


def measured(device: torch.device, candidates: int, mode: str) -> list[dict[str, Any]]:
    study = load_study(None, {"budget": {"train": 1.0}}, device=str(device))
    registry, asked = load_registry(), study.config.measure
    space = default_space(device)
    drawn, generator = Space(space.realise), random.Random(0)
    measurer = Measurer(device, check=lambda: None, note=print, sleep=time.sleep)
    rows: list[dict[str, Any]] = []
    while len(rows) < candidates:
        params = drawn.draw(generator)
        assert params is not None, "a default space has values that go together"
        try:
            spec = space.backbone(lambda name, _domain, params=params: params[name])  # type: ignore[misc]
            cost = cost_of(
                build_backbone(spec, registry, image_size=asked.image_size, device="meta")
            )
        except SpecError:
            continue
        protocol = MeasurementProtocol(
            mode="train" if mode == "train" else "infer",
            batch_size=asked.batch_size,
            image_size=asked.image_size,
            precision=asked.precision,
            memory_format=asked.memory_format,
            max_seconds=2.0,
        )
        found = measurer.until_clear(
            lambda spec=spec: build_backbone(
                spec, registry, image_size=asked.image_size, device=device
            ),  # type: ignore[misc]
            protocol,
            None,
        )
        seconds = 1 / found.images_per_second
        rows.append({"params": params, "macs": cost.total.macs, "seconds_per_image": seconds})
        print(len(rows), f"{found.images_per_second:.0f}", flush=True)
    return rows


@dataclass(frozen=True)
class Known:
    """What was measured: descriptions, rows, seconds per image and MACs."""

    seen: EncodedCandidates
    times: Array
    macs: Array

    def some(self, indices: Any) -> EncodedCandidates:
        params = [self.seen.params[int(index)] for index in indices]
        return EncodedCandidates(params, self.seen.features, self.seen.rows[indices])


def evaluated(
    rows: list[dict[str, Any]], space: SearchSpace, say: Callable[..., object]
) -> list[dict[str, Any]]:
    drawn = Space(space.realise)
    params = [drawn.replay(row["params"]) or {} for row in rows]
    features = Features(drawn.distributions)
    described = [
        {"description": describe(space.backbone(lambda name, _domain, own=own: own[name]))}  # type: ignore[misc]
        for own in params
    ]
    known = Known(
        EncodedCandidates(described, features, features.rows(params)),
        np.array([row["seconds_per_image"] for row in rows]),
        np.array([row["macs"] for row in rows], dtype=np.float64),
    )
    limit = float(np.quantile(known.times, FAST))
    summary = []
    for number in NUMBERS:
        if number > len(rows) - 20:
            continue
        found: dict[str, list[dict[str, float]]] = {}
        for split in range(SPLITS):
            order = np.random.default_rng(split).permutation(len(rows))
            for name, model in MODELS.items():
                errors_of = model(known, order[:number], order[number:], limit)
                found.setdefault(name, []).append(errors_of)
        for name, splits in found.items():
            means = {key: float(np.mean([split[key] for split in splits])) for key in splits[0]}
            summary.append({"measurements": number, "model": name, **means})
            say(number, name, {key: round(value, 4) for key, value in means.items()})
    return summary


def by_stage(known: Known, some: Any, rest: Any, limit: float) -> dict[str, float]:
    truth = known.times[rest]
    model = StageTimes(AtMost(limit), lambda params: cast("Description", params["description"]))
    model.condition(known.some(some), known.times[some])
    predicted, low, high = model.interval(known.some(rest), 0.01)
    out = model.rules_out(model.log_chance(known.some(rest)))
    return {
        **errors(predicted, truth),
        "ruled_out": float(np.mean(out)),
        "wrongly": float(np.sum(out & (truth <= limit))) / max(1.0, float(out.sum())),
        "covered": float(np.mean((low <= truth) & (truth <= high))),
        "stated_error": model.error or 0.0,
    }


def general(known: Known, some: Any, rest: Any, limit: float) -> dict[str, float]:
    """The process that knows parameters only."""
    model = QuantityModel(AtMost(limit))
    model.condition(known.some(some), known.times[some])
    assert model._model is not None, "enough values"
    logs = np.log(known.times[some])
    mean, _ = model._model.predict(known.seen.rows[rest])
    return errors(np.exp(mean * logs.std() + logs.mean()), known.times[rest])


def proportional(known: Known, some: Any, rest: Any, _limit: float) -> dict[str, float]:
    """A line through MACs, least relative squares."""
    basis = np.stack([np.ones_like(known.macs), known.macs], axis=1)
    weighted = basis[some] / known.times[some, None]
    line, *_ = np.linalg.lstsq(weighted, np.ones(len(some)), rcond=None)
    return errors(basis[rest] @ line, known.times[rest])


def errors(predicted: Array, truth: Array) -> dict[str, float]:
    return {
        "error": float(np.sqrt(np.mean((predicted / truth - 1) ** 2))),
        "tau": float(kendalltau(predicted, truth).statistic),
    }


MODELS = {"by stage": by_stage, "general process": general, "MACs": proportional}


if __name__ == "__main__":
    main()
