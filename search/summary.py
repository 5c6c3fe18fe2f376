"""How a study stands: the best that makes the budget, or the nearest miss, and why it ended."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from importlib.metadata import version
from typing import Any

import torch
from safetensors.torch import load_file

from metaformer.backbone import build_backbone
from metaformer.spec_yaml import load_spec
from mixers import MixerRegistry
from search.budget_checks import GIB
from search.data import Splits
from search.records import BaselineRecord, Record, TrialRecord, TrialState
from search.run_folder import RunFolder
from search.set_aside import set_aside
from search.study_config import Study
from search.training import PREPROCESSING, accuracy

_VERSIONED = ("metaformer-search", "torch", "timm", "optuna", "numpy")


class Outcome(StrEnum):
    """Why a study stopped where it did."""

    RUNNING = "running"
    DONE = "done"
    TIME_LIMIT = "time limit"
    SPACE_EXHAUSTED = "space exhausted"
    TOO_MANY_FAILURES = "too many failures"
    MACHINE_BUSY = "machine busy"
    INTERRUPTED = "interrupted"


def best_of(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The complete trial of the highest validation accuracy; of equals, that of lowest number,
    whichever ended first. One that missed its budget when it was measured again is none."""
    refuted = {r.confirms for r in records if r.state is TrialState.REJECTED}
    complete = [
        record
        for record in records
        if record.state is TrialState.COMPLETE
        and record.confirms is None
        and record.number not in refuted
    ]
    return max(complete, key=lambda record: (record.accuracy or 0.0, -record.number), default=None)


def nearest_miss(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The trial that missed its budgets by least, counted or measured."""
    missed = [
        record for record in records if record.state is TrialState.REJECTED and record.was_judged
    ]
    # what was not measured missed by more than its bound says
    return min(missed, key=lambda trial: (bool(trial.at_most), trial.violation()), default=None)


def test_accuracy(
    folder: RunFolder,
    study: Study,
    registry: MixerRegistry,
    data: Splits,
    device: torch.device,
    check: Callable[[], None],
) -> float:
    """Accuracy on the test split, 0..1, of the best as its two files hold it."""
    model = build_backbone(load_spec(folder.best_spec, registry), registry, device=device)
    model.load_state_dict(load_file(folder.best_weights, device=str(device)))
    return accuracy(model, data.test, study.config.train, device=device, check=check)


def summarise(
    study: Study,
    records: Sequence[TrialRecord],
    device: torch.device,
    outcome: Outcome,
    *,
    test: float | None = None,
    data: Splits | None = None,
    baselines: Sequence[BaselineRecord] = (),
    prediction: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What summary.json holds; `prediction` is what the strategy says of its predicted speeds."""
    best, miss = best_of(records), nearest_miss(records)
    config = study.config
    return {
        "schema": 1,
        "name": config.name,
        "outcome": outcome.value,
        "feasible": best is not None,
        "budget": config.budget.given(),
        "trials": {
            "total": config.search.trials,
            "counted": sum(record.counts for record in records),
            "by_state": dict(Counter(r.state.value for r in records if r.confirms is None)),
        },
        "best": None if best is None else describe_trial(best, study, test),
        "baselines": [_describe_baseline(record, study) for record in baselines],
        "set_aside": [
            found.to_data() for found in set_aside(records, study.frozen_mixers).values()
        ],
        "reasons": dict(Counter(record.reason for record in records if record.reason)),
        "nearest_miss": (
            None if best is not None or miss is None else describe_trial(miss, study, None)
        ),
        "prediction": prediction,
        "measure": config.measure.model_dump(),
        "train": config.train.model_dump(),
        "data": None if data is None else _describe_data(data),
        "seconds": _seconds(records),
        "device": str(device),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in _VERSIONED},
    }


def describe_trial(record: TrialRecord, study: Study, test: float | None) -> dict[str, Any]:
    """One trial, as summary.json tells of the best and of the nearest miss."""
    return {"trial": record.number, **_describe(record, study, test)}


def _describe_baseline(record: BaselineRecord, study: Study) -> dict[str, Any]:
    return {
        "name": record.name,
        "state": record.state.value,
        "within_budget": record.within_budget,
        **_describe(record, study, record.test_accuracy),
        "seconds": _seconds([record]),
    }


def _describe(record: Record, study: Study, test: float | None) -> dict[str, Any]:
    throughput = {}
    for mode, budget in study.config.budget.throughput.items():
        measured = record.measurement(mode)
        if measured is not None and measured["images_per_second"] is not None:
            throughput[mode] = {
                "images_per_second": measured["images_per_second"],
                "low": measured["low"],
                "high": measured["high"],
                "verdict": measured["verdict"],
                "budget": budget,
                "margin": measured["images_per_second"] / budget - 1,
            }
        elif mode in record.at_most:
            most = record.at_most[mode]
            throughput[mode] = {"at_most": most, "budget": budget, "margin": most / budget - 1}
    return {
        "digest": record.digest,
        "validation_accuracy": record.accuracy,
        "test_accuracy": test,
        "params": record.params,
        "macs": record.macs,
        "memory": record.peak_memory_bytes and record.peak_memory_bytes / GIB,
        "throughput": throughput,
        "limits": {
            name: limit
            for name in ("memory", "params", "macs")
            if (limit := getattr(study.config.budget, name)) is not None
        },
        "reason": record.reason,
        "stages": [] if record.spec is None else [_stage(stage) for stage in record.spec["stages"]],
    }


def _stage(stage: dict[str, Any]) -> str:
    """One stage in a line: `2 x 48 metaformer pooling(pool_size=3)`."""
    written = stage["mixer"] if isinstance(stage["mixer"], list) else [stage["mixer"]]
    names = []
    for mixer in written:
        if isinstance(mixer, str):
            names.append(mixer)
            continue
        name, options = next(iter(mixer.items()))
        names.append(f"{name}({', '.join(f'{key}={value}' for key, value in options.items())})")
    return f"{stage['depth']} x {stage['width']} {stage['block']} {' | '.join(names)}"


def _describe_data(data: Splits) -> dict[str, Any]:
    return {
        "name": data.name,
        "train": len(data.train),
        "validation": len(data.validation),
        "test": len(data.test),
        "classes": list(data.class_names),
        "unreadable": list(data.unreadable),
        "preprocessing": {"image_size": data.image_size, **PREPROCESSING},
    }


def _seconds(records: Sequence[Record]) -> dict[str, float]:
    totals: Counter[str] = Counter()
    for record in records:
        totals.update(record.seconds)
    return {name: round(seconds, 3) for name, seconds in totals.items()}
