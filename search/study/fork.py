"""A new study in a widened space that keeps what the old one has tried.

Optuna's sampler cannot learn values that a parameter did not have when the study began, so a study
never changes its space. A fork is a study of its own: each old trial whose backbone lies in the new
space is carried over under the new space's parameters, with its record.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from metaformer.errors import SpecError
from metaformer.yaml_tree import Node
from mixers import Choice, Domain, IntRange, MixerError, MixerRegistry, OptionValue
from search.config.differences import differences
from search.config.provenance import freeze
from search.config.study import Study
from search.config.study_space import open_space
from search.errors import UsageError
from search.scheduling.quarantine import set_aside
from search.space.search_space import SearchSpace
from search.storage.journal import exclusive
from search.storage.record_reader import last_of_each, read_baselines
from search.storage.records import TrialRecord
from search.storage.run_folder import RunFolder
from search.storage.trial_store import StoredTrial, TrialStore
from search.study.summary import StudyOutcome, best_of, summarise

_MUST_AGREE = ("budget", "measure", "train")  # else old figures and scores say nothing here


@dataclass(frozen=True)
class Fork:
    """The new study's folder, how many trials came along, and the numbers of those that did not:
    outside the new space, or `to_try_again`, having failed with a mixer that was set aside."""

    folder: Path
    carried: int
    left_behind: tuple[int, ...]
    to_try_again: tuple[int, ...]


def fork(old: Study, old_folder: Path, new: Study, out: Path, registry: MixerRegistry) -> Fork:
    """Begins `new` in `out`, with the trials of `old` that its space holds.

    UsageError if the two measure or train otherwise, or the new study's folder is there;
    SpecError if the new space holds nothing legal, EnvironmentProblem if a process runs the
    old study.
    """
    _require_comparable(old, new)
    folder = RunFolder(out / new.config.name)
    if folder.path.exists():
        raise UsageError(f"{folder.path} is there already; choose another --name or --out")
    space = _space(new, old, registry)
    with ExitStack() as held:
        busy = f"{old_folder}: another process is running this study"
        held.enter_context(exclusive(RunFolder(old_folder).lock, busy))
        stored = TrialStore(old.config.name, RunFolder(old_folder)).stored()
        aside = set_aside([trial.record for trial in stored], old.frozen_mixers).values()
        again = {number for mixer in aside for number in mixer.trials}
        before = [trial for trial in stored if trial.record.number not in again]
        carried = [_carried(trial, space) for trial in before]
        baselines = last_of_each(read_baselines(old_folder))
        folder.create()
        held.enter_context(exclusive(folder.lock, f"{folder.path}: in use"))
        begun = replace(
            new,
            frozen_mixers=freeze(space.mixer_names, registry),
            frozen_data=old.frozen_data,
            frozen_trainer=old.frozen_trainer,
        )
        folder.write_study(begun.to_data())
        store = TrialStore(new.config.name, folder)
        numbers: dict[int, int] = {}
        for trial in carried:
            if trial is None:
                continue
            if trial.record.confirms is None or trial.record.confirms in numbers:
                numbers[trial.record.number] = store.adopt(trial, numbers)
        _keep_weights(store.records, RunFolder(old_folder), folder)
        folder.write_baselines(baselines)
        device = torch.device(new.config.measure.device)
        summary = summarise(begun, store.records, device, StudyOutcome.RUNNING, baselines=baselines)
        folder.write_summary(summary)
    candidates = [trial.record.number for trial in before if trial.record.confirms is None]
    left = tuple(number for number in candidates if number not in numbers)
    return Fork(folder.path, len(candidates) - len(left), left, tuple(sorted(again)))


def _require_comparable(old: Study, new: Study) -> None:
    said, says = old.to_data(), new.to_data()
    changes = [line for key in _MUST_AGREE for line in differences(said[key], says[key], key)]
    if changes:
        lines = "\n".join(f"  {line}" for line in changes)
        raise UsageError(
            f"a fork measures and trains as the old study did, and this one differs:\n{lines}"
        )


def _space(new: Study, old: Study, registry: MixerRegistry) -> SearchSpace:
    config, tree = new.config, new.space
    classes = len(old.frozen_data["classes"]) if old.frozen_data is not None else 1000
    fields: dict[str, Any] = {
        "name": config.name,
        "num_classes": classes,
        "image_size": config.train.image_size,
    }
    # a short name stays whose it was in the old study
    registry = registry.settled(str(mixer["name"]) for mixer in old.frozen_mixers)
    if new.space is old.space:  # complete, with what the study decided in it
        own = {key: value for key, value in tree.map.items() if key not in fields}
        tree = Node(own, tree.mark, tree.key_marks)
    device = torch.device(config.measure.device)
    return open_space(tree, registry, config, device, any_mixers=None, fields=fields)


def _carried(trial: StoredTrial, space: SearchSpace) -> StoredTrial | None:
    """The trial under the parameters of `space`; None if its backbone does not lie there."""
    distributions: dict[str, BaseDistribution] = {}
    params: dict[str, OptionValue] = {}

    def choose(name: str, domain: Domain) -> OptionValue:
        known = trial.params[name] if name in trial.params else said_by(trial.record.spec, name)
        value = _in_domain(known, domain)
        params[name], distributions[name] = value, distribution_of(domain)
        return value

    try:
        spec = space.backbone(choose)
    except (SpecError, MixerError, LookupError, ValueError, StopIteration):  # it lacks something
        return None
    if spec.digest != trial.record.digest:
        return None
    return replace(trial, params=params, distributions=distributions)


def said_by(spec: Any, name: str) -> OptionValue:
    """Return the value that a backbone has for the parameter of that name, fixed until now.

    KeyError if the name leads nowhere.
    """
    place = spec
    for part in name.split("."):
        if isinstance(place, dict) and part in place and part != "mixer":
            place = place[part]
        elif isinstance(place, dict) and "mixer" in place:
            place = _in_stage(place, part)
        elif isinstance(place, list) and part.isdigit() and int(part) < len(place):
            place = place[int(part)]
        else:
            raise KeyError(name)
    if isinstance(place, dict | list):
        raise KeyError(name)
    value: OptionValue = place
    return value


def _in_stage(stage: dict[str, Any], part: str) -> Any:
    """The block's name, an item of the pattern, the mixer's name, or the options of a mixer."""
    pattern = stage["mixer"] if isinstance(stage["mixer"], list) else [stage["mixer"]]
    mixers = {}
    for item in pattern:
        name, options = (item, {}) if isinstance(item, str) else next(iter(item.items()))
        mixers[name] = options
    if part == stage.get("block"):
        return stage
    if part == "mixer":
        return next(iter(mixers))
    if part.isdigit():
        return {**stage, "mixer": [pattern[int(part) % len(pattern)]]}
    return next(options for name, options in mixers.items() if part in (name, _short(name)))


def _in_domain(value: OptionValue, domain: Domain) -> OptionValue:
    """The value of the domain, if a mixer may stand under its short name."""
    try:
        return domain.normalise(value)
    except ValueError:
        if not isinstance(value, str):
            raise
        return domain.normalise(_short(value))


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def distribution_of(domain: Domain) -> BaseDistribution:
    """Optuna's name for a domain, as `SearchSpace.suggest` asks for it."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if isinstance(domain, IntRange):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)


def _keep_weights(records: Sequence[TrialRecord], old: RunFolder, new: RunFolder) -> None:
    """Those of the new study's best, and those that later candidates may begin with, as far as
    the old study has them."""
    for digest in dict.fromkeys(record.digest for record in records):
        file = old.inheritable / f"{digest}.safetensors"
        if file.exists():
            new.inheritable.mkdir(exist_ok=True)
            shutil.copyfile(file, new.inheritable / file.name)
    best = best_of(records)
    if best is None or best.digest is None:
        return
    weights = old.weights_of(best.digest)
    if weights is not None:
        new.keep_weights(best.number, best.digest, weights)
    new.settle_best([best])
