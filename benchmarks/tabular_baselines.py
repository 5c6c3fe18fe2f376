"""Optuna's samplers on a table, as people use them: plain, and with rejection before training."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState
from tabular_tables import Trained

MAX_PROPOSALS = 1000  # of a run with rejection
MAX_REPEATED = 50  # rejections running of what was rejected before: the sampler stalls

LARGEST_EXCESS = 1e3  # of what does not run at all

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "random": lambda seed: RandomSampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed),
    "gp": lambda seed: GPSampler(seed=seed),
    "nsga2": lambda seed: NSGAIISampler(seed=seed),
}


class Searched(Protocol):
    """What is searched: choices or distributions by name, under a budget of latency."""

    @property
    def space(self) -> Mapping[str, Any]: ...
    @property
    def budget(self) -> float: ...
    def accuracy(self, params: Mapping[str, Any], /) -> float: ...
    def latency(self, params: Mapping[str, Any], /) -> float: ...


def run_baseline(
    cell: Searched, sampler: str, seed: int, *, reject: bool, num_trainings: int
) -> tuple[list[Trained], int]:
    """What was trained, in order, and the number of proposals.

    With `reject` a proposal that misses the budget is told as PRUNED, its constraint set, and
    costs no training. Such a run ends early where the sampler proposes rejected networks again and
    again: the GP learns from completed trials only, so nothing could bring it off.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(direction="maximize", sampler=SAMPLERS[sampler](seed))
        distributions = {
            name: domain
            if isinstance(domain, BaseDistribution)
            else CategoricalDistribution(domain)
            for name, domain in cell.space.items()
        }
        trained: list[Trained] = []
        num_proposals = repeated = 0
        rejected: set[tuple[Any, ...]] = set()
        limit = MAX_PROPOSALS if reject else num_trainings
        while len(trained) < num_trainings and num_proposals < limit:
            trial = study.ask(distributions)  # type: ignore[arg-type]  # a mapping of a narrower kind
            num_proposals += 1
            network = tuple(trial.params[name] for name in cell.space)
            repeated = repeated + 1 if network in rejected else 0
            if repeated >= MAX_REPEATED:
                break
            excess = min(math.log(cell.latency(trial.params) / cell.budget), LARGEST_EXCESS)
            trial.set_constraint("latency", excess)
            if reject and excess > 0:
                rejected.add(network)
                study.tell(trial, state=TrialState.PRUNED)
                continue
            accuracy = cell.accuracy(trial.params)
            study.tell(trial, accuracy)
            trained.append(Trained(accuracy, feasible=excess <= 0))
    return trained, num_proposals
