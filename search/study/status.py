"""Status of a study, read from its folder while it may be running: no lock held, no torch."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from search.config.locate import legal_name
from search.errors import EnvironmentProblem
from search.storage.record_reader import last_of_each, read_baselines, read_records
from search.storage.records import Record, TrialRecord, refutations, total_seconds
from search.storage.study_folder import STUDY_FILE

LAST_TRIALS = 5
_SECTIONS = ("budget", "measure", "train", "search")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML may be built without C
_MAX_NESTING = 32  # as in metaformer.yaml_tree, whose import would load torch
_LOCKS = Path("/proc/locks")


def study_status(folder: Path) -> dict[str, Any]:
    """Return what `search status --json` prints of one study.

    `running` is whether a process holds the study now, `pid` which, if that can be told.
    `best`, `front`, `nearest_miss` and `set_aside` are those of summary.json; `not_yet_in_summary`
    counts trials that ended since it was written. `refuted` are complete trials that missed when
    they were measured again, `baselines` are as they ended last. `seconds` are those that trials
    took, by what they were spent on.
    EnvironmentProblem if a file is not what the study wrote.
    """
    settings = _settings(folder / STUDY_FILE)
    records = read_records(folder)
    summary = read_summary(folder)
    pid = holder_of(folder / "study.lock")
    candidates = [record for record in records if record.confirms is None]
    counted = sum(record.counts for record in candidates)
    told = summary.get("trials", {}).get("counted", 0)
    return {
        "schema": 1,
        "name": settings["name"],
        "folder": str(folder),
        "running": pid is not None,
        "pid": pid or None,
        "outcome": summary.get("outcome"),
        "go_on": None if pid is not None else _how_to_resume(folder, settings["name"]),
        **{section: settings[section] for section in _SECTIONS},
        "trials": {
            "total": settings["search"]["trials"],
            "counted": counted,
            "by_state": dict(Counter(record.state.value for record in candidates)),
        },
        "best": summary.get("best"),
        "front": summary.get("front"),
        "nearest_miss": summary.get("nearest_miss"),
        "refuted": describe_refuted(records),
        "set_aside": summary.get("set_aside", []),
        "passed_over": summary.get("passed_over", []),
        "not_yet_in_summary": max(0, counted - told),
        "baselines": [
            {"name": record.name, **_describe(record), "within_budget": record.within_budget}
            for record in last_of_each(read_baselines(folder))
        ],
        "last": [
            {"trial": record.number, **_describe(record)} for record in candidates[-LAST_TRIALS:]
        ],
        "seconds": total_seconds(records),
    }


def _how_to_resume(folder: Path, name: str) -> str:
    """Return the command that resumes the study, after renaming its folder if that is needed."""
    own = folder.resolve()
    if name in (folder.name, own.name):
        return shlex.join(["search", "resume", str(folder)])
    renamed = str(own.with_name(name))
    moved, resumed = ["mv", str(own), renamed], ["search", "resume", renamed]
    return f"{shlex.join(moved)} && {shlex.join(resumed)}"


def describe_refuted(records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Return the complete trials that a second measurement refuted, with both measurements.

    `measured_again` has the number, state and reason of the second, and its figures.
    """
    known = {record.number: record for record in records}
    return [
        {
            "trial": again.confirms,
            "digest": again.digest,
            **_describe(known[again.confirms]),
            "measured_again": {"trial": again.number, **_describe(again)},
        }
        for again in refutations(records)
        if again.confirms in known
    ]


def study_name(folder: Path) -> str:
    """The name of the study in `folder`; EnvironmentProblem if its study.yaml is damaged."""
    return str(_settings(folder / STUDY_FILE)["name"])


def study_device(folder: Path) -> str:
    """The device that the study in `folder` measures on, as its study.yaml has it."""
    return str(_settings(folder / STUDY_FILE)["measure"].get("device", "cpu"))


def holder_of(lock: Path) -> int | None:
    """The process that holds the lock file; 0 if one does that cannot be told, None if none."""
    if not lock.exists():
        return None
    pid = _listed_holder(lock)
    if pid is not None:
        return pid
    # a process of another container is not listed; asking takes a shared lock for an instant
    descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    finally:
        os.close(descriptor)
    return None


def _listed_holder(lock: Path) -> int | None:
    """Holder of the file by the kernel's list, `1: FLOCK ADVISORY WRITE PID DEVICE:INODE 0 EOF`."""
    found = os.stat(lock)
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        parts = line.split()
        if len(parts) >= 6 and parts[1] == "FLOCK" and parts[5] == place and parts[4].isdigit():
            return int(parts[4])
    return None


def _settings(file: Path) -> dict[str, Any]:
    """Name and sections of a run folder's study.yaml, of the sections the scalars."""
    refusal = f"{file} is not what `search run` wrote; restore it"
    try:
        text = file.read_text(encoding="utf-8")
        _require_shallow(text)
        tree = yaml.compose(text, Loader=_LOADER)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise EnvironmentProblem(refusal) from None
    top = _entries(tree)
    found: dict[str, Any] = {section: _scalars(top.get(section)) for section in _SECTIONS}
    name = top.get("name")
    written = name.value if isinstance(name, yaml.ScalarNode) else ""
    found["name"] = written if written == legal_name(written) else None
    by_hand = not isinstance(top.get("mixers"), yaml.SequenceNode)
    if by_hand or found["name"] is None or type(found["search"].get("trials")) is not int:
        raise EnvironmentProblem(refusal)
    return found


def _require_shallow(text: str) -> None:
    """Raise ValueError for what is nested so deeply that composing it overflows C's stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_NESTING:
            raise ValueError("nested too deeply")


def _entries(node: Any) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        return {}
    return {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def _scalars(node: Any) -> dict[str, Any]:
    entries = _entries(node).items()
    return {key: _value(item) for key, item in entries if isinstance(item, yaml.ScalarNode)}


def _value(node: yaml.ScalarNode) -> Any:
    """A scalar as JSON reads it if it can, else the text."""
    try:
        return node.value if node.style else json.loads(node.value)  # a plain one has none, or ""
    except ValueError:
        return node.value


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the content of the study's summary.json; empty if no trial has ended yet.

    EnvironmentProblem if it is damaged.
    """
    file = folder / "summary.json"
    if not file.exists():
        return {}
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not _is_summary(data):
        words = "is not what `search run` wrote; it is written again when the study resumes"
        raise EnvironmentProblem(f"{file} {words}")
    return data


def _is_summary(data: dict[str, Any]) -> bool:
    """Return whether the parts of the summary that are shown are of the right types."""
    trials, best = data.get("trials"), data.get("best")
    shown = [trial for trial in (best, data.get("nearest_miss")) if trial is not None]
    front = data.get("front")
    return (
        isinstance(trials, dict)
        and type(trials.get("counted")) is int
        and (front is None or isinstance(front, list))
        and isinstance(data.get("set_aside", []), list)
        and isinstance(data.get("passed_over", []), list)
        and all(_is_described(trial) for trial in [*shown, *(front or [])])
    )


def _is_described(trial: Any) -> bool:
    """Return whether `trial` is as `summary.describe_trial` makes it, as far as it is shown."""
    if not isinstance(trial, dict) or not isinstance(trial.get("throughput"), dict):
        return False
    numbers = ("validation_accuracy", "test_accuracy")
    return (
        all(name in trial for name in numbers)
        and all(trial[name] is None or _is_number(trial[name]) for name in numbers)
        and isinstance(trial.get("reason"), str)
        and type(trial.get("trial")) is int
        and all(map(_is_speed, trial["throughput"].values()))
        and (trial.get("latency") is None or _is_speed(trial["latency"]))
    )


def _is_speed(speed: Any) -> bool:
    if not isinstance(speed, dict) or "margin" not in speed:
        return False
    if "at_most" in speed:
        return _is_number(speed["at_most"])
    figures = [speed.get("images_per_second", speed.get("milliseconds"))]
    figures += [speed.get("low"), speed.get("high")]
    return all(map(_is_number, figures)) and (
        speed["margin"] is None or _is_number(speed["margin"])
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _describe(record: Record) -> dict[str, Any]:
    measured = [
        {key: found.get(key) for key in ("mode", "images_per_second", "low", "high", "verdict")}
        for found in record.measurements
    ]
    return {
        "state": record.state.value,
        "accuracy": record.accuracy,
        "throughput": measured,
        "reason": record.reason,
        "seconds": round(sum(record.seconds.values()), 3),
    }
