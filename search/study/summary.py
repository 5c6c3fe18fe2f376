"""Summary of a study: the best that meets the budget, or the nearest miss, and why it ended."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from importlib.metadata import version
from typing import Any

import torch

from search.config.study import Study
from search.data import Splits
from search.devices import GIB
from search.scheduling.pareto import front_of
from search.scheduling.passed_over import PassedOverCounter
from search.scheduling.quarantine import set_aside
from search.storage.records import (
    BaselineRecord,
    Record,
    TrialRecord,
    TrialState,
    ranked,
    total_seconds,
)
from search.study.status import describe_refuted
from search.training import PREPROCESSING

_VERSIONED = ("metaformer-search", "torch", "timm", "optuna", "numpy")


class StudyOutcome(StrEnum):
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
    return next(iter(ranked(records)), None)


def nearest_miss(records: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the trial that missed its budgets by least, counted or measured; None if none did.

    One that missed them when it was measured again has those figures, and its own number and score.
    """
    known = {record.number: record for record in records}
    missed = [
        record
        if record.confirms is None
        else replace(record, number=record.confirms, score=known.get(record.confirms, record).score)
        for record in records
        if record.state is TrialState.REJECTED and record.was_judged
    ]
    # what was not measured missed by more than its bound says
    return min(missed, key=lambda trial: (bool(trial.at_most), trial.violation()), default=None)


def summarise(
    study: Study,
    records: Sequence[TrialRecord],
    device: torch.device,
    outcome: StudyOutcome,
    *,
    test: float | None = None,
    data: Splits | None = None,
    baselines: Sequence[BaselineRecord] = (),
    prediction: dict[str, Any] | None = None,
    passed_over: PassedOverCounter | None = None,
) -> dict[str, Any]:
    """Return the content of summary.json; `prediction` is the strategy's quality of predicted
    speeds."""
    best, miss = best_of(records), nearest_miss(records)
    config, axes = study.config, study.config.search.axes
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
        "best": None if best is None else _describe_best(best, records, study, test),
        "front": [describe_trial(record, study, None) for record in front_of(records, axes)]
        if axes
        else None,
        "baselines": [_describe_baseline(record, study) for record in baselines],
        "refuted": describe_refuted(records),
        "set_aside": [
            found.to_data() for found in set_aside(records, study.frozen_mixers).values()
        ],
        "passed_over": [one.to_data() for one in passed_over.found()] if passed_over else [],
        "reasons": dict(Counter(record.reason for record in records if record.reason)),
        "nearest_miss": (
            None if best is not None or miss is None else describe_trial(miss, study, None)
        ),
        "prediction": prediction,
        "measure": config.measure.model_dump(),
        "train": config.train.model_dump(),
        "data": None if data is None else _describe_data(data),
        "seconds": total_seconds(records),
        "device": str(device),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in _VERSIONED},
    }


def describe_trial(record: TrialRecord, study: Study, test: float | None) -> dict[str, Any]:
    """One trial, as summary.json tells of the best and of the nearest miss."""
    return {"trial": record.number, **_describe(record, study, test)}


def _describe_best(
    best: TrialRecord, records: Sequence[TrialRecord], study: Study, test: float | None
) -> dict[str, Any]:
    """`confirmed` says whether it kept its budgets of speed when it was measured again; None if
    there are none."""
    again = {record.confirms for record in records if record.state is TrialState.COMPLETE}
    confirmed = best.number in again if study.config.budget.speeds else None
    return {**describe_trial(best, study, test), "confirmed": confirmed}


def _describe_baseline(record: BaselineRecord, study: Study) -> dict[str, Any]:
    return {
        "name": record.name,
        "state": record.state.value,
        "within_budget": record.within_budget,
        **_describe(record, study, record.test_accuracy),
        "seconds": total_seconds([record]),
    }


def _describe(record: Record, study: Study, test: float | None) -> dict[str, Any]:
    speeds = study.config.speeds.items()
    found = {mode: _speed(record, mode, budget) for mode, budget in speeds if mode != "latency"}
    return {
        "digest": record.digest,
        "validation_accuracy": record.accuracy,
        "test_accuracy": test,
        "params": record.params,
        "macs": record.macs,
        "memory": record.peak_memory_bytes and record.peak_memory_bytes / GIB,
        "throughput": {mode: speed for mode, speed in found.items() if speed is not None},
        "latency": _latency(record, study.config.budget.latency),
        "limits": {
            name: limit
            for name in ("memory", "params", "macs")
            if (limit := getattr(study.config.budget, name)) is not None
        },
        "reason": record.reason,
        "stages": [] if record.spec is None else [_stage(stage) for stage in record.spec["stages"]],
    }


def _speed(record: Record, mode: str, budget: float | None) -> dict[str, Any] | None:
    """Images/s as measured, or what no kernel exceeds; None if neither is on record."""
    measured = record.measurement(mode)
    if measured is not None and measured["images_per_second"] is not None:
        speed = measured["images_per_second"]
        kept = {key: measured[key] for key in ("images_per_second", "low", "high", "verdict")}
    elif mode in record.at_most:
        speed = record.at_most[mode]
        kept = {"at_most": speed}
    else:
        return None
    return {**kept, "budget": budget, "margin": None if budget is None else speed / budget - 1}


def _latency(record: Record, budget: float | None) -> dict[str, Any] | None:
    """Milliseconds as measured; None if that was not done."""
    measured = record.measurement("latency")
    if measured is None or measured["images_per_second"] is None:
        return None
    ends = {"milliseconds": "images_per_second", "low": "high", "high": "low"}
    found = {name: 1000 / measured[key] for name, key in ends.items()}
    margin = None if budget is None else budget / found["milliseconds"] - 1
    return {**found, "verdict": measured["verdict"], "budget": budget, "margin": margin}


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
        "unreadable": [str(item) for item in data.unreadable],
        "preprocessing": {"image_size": data.image_size, **PREPROCESSING},
    }
