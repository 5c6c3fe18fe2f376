"""Search strategy: propose the new backbone with the highest expected gain within the budget."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.samplers import RandomSampler
from optuna.trial import BaseTrial, FrozenTrial, Trial

from metaformer.errors import SpecError
from metaformer.spec import BackboneSpec
from metaformer.yaml_tree import Node
from search.bayesopt.constraint_model import Quantity, QuantityModel
from search.bayesopt.define_by_run import Key, Space, key_of
from search.bayesopt.history import Candidate
from search.bayesopt.latency_model import Description, StageTimes
from search.bayesopt.limits import AtMost
from search.bayesopt.proposer import Proposer
from search.config.study import Budget
from search.scheduling.latency_features import describe
from search.scheduling.pareto import front_scores
from search.scheduling.passed_over import PassedOverCounter
from search.space.search_space import SearchSpace
from search.storage.records import NOT_BUILDABLE, TrialRecord, TrialState
from search.storage.trial_store import TrialStore

# a rejected trial counts as much as a trained one: at 2, about every second one may be rejected
MEASUREMENTS_PER_TRAINING = 2.0
REFUSALS_BEFORE_END = 200
FORGET_ABOVE = 4096  # candidates whose making is kept next to those that were tried
_BUILDABLE = "buildable"


class SpaceExhausted(Exception):
    """No proposal that has not been tried was found; all of the space seems to be known."""


class Strategy:
    """Proposes candidates for one study. Proposals depend on the seed and on what is recorded.

    What `check` refuses with SpecError is passed over, and the model learns to avoid it.
    """

    def __init__(
        self,
        store: TrialStore,
        space: SearchSpace,
        budget: Budget,
        seed: int,
        check: Callable[[BackboneSpec], None] = lambda _spec: None,
        *,
        axes: Sequence[str] = (),
        passed_over: PassedOverCounter | None = None,
    ) -> None:
        """`axes` are those of the front that is looked for, in the place of accuracy alone;
        `passed_over` counts the candidates that cannot be proposed."""
        self.passed_over = passed_over or PassedOverCounter()
        self._store = store
        self._space = space
        self._budget = budget
        self._check = check
        seeds = np.random.SeedSequence([seed, len(store.study.get_trials(deepcopy=False))])
        self._generator = random.Random(int(seeds.generate_state(1)[0]))
        self._drawn: dict[Key, Node] = {}  # what candidates' values make, not looked at yet
        self._described: dict[Key, Description | None] = {}
        self.times = {
            mode: StageTimes(AtMost(1 / limit), self._describe)
            for mode, limit in budget.throughput.items()
        }
        limits = [name for name in budget.given() if name not in budget.throughput]
        quantities: dict[str, Quantity] = {
            name: QuantityModel(AtMost(0.0)) for name in (_BUILDABLE, *limits)
        }
        quantities |= self.times
        self._proposer = Proposer(Space(self._draw), quantities, self._generator)
        self._num_learned = 0
        self._axes = axes
        self._scored: dict[int, Candidate] = {}  # by the number of its trial

    def prediction(self) -> dict[str, Any]:
        """Quality of the predicted speeds: by mode the relative error with which each measured
        candidate is predicted from the others, None before there are enough; and the
        number of generated candidates ruled out by the latency model."""
        errors = {mode: times.error for mode, times in self.times.items()}
        return {"relative_error": errors, "ruled_out": self._proposer.num_ruled_out}

    def propose(self, pending: Collection[str] = ()) -> tuple[Trial, BackboneSpec]:
        """The next trial and its backbone; SpaceExhausted if nothing new is left.

        What waits to be tried again comes first. `pending` are the digests of what is under way.
        """
        trials = self._store.study.get_trials(deepcopy=False)
        self._learn(trials)
        known = {record.digest for record in self._store.records if record.state.is_final}
        known.update(pending)
        waiting = self._next_waiting(known)
        if waiting is not None:
            return waiting
        for _ in range(REFUSALS_BEFORE_END):
            candidate = self._proposer.propose(allowance=MEASUREMENTS_PER_TRAINING)
            self._forget()
            if candidate is None:
                break
            spec = self._spec_of(candidate)
            if spec is not None and spec.digest not in known:
                # whole on record before any value is asked for, so that nothing is left in part of
                # a process that dies meanwhile
                self._store.study.enqueue_trial(candidate.params)
                if (next_one := self._next_waiting(known)) is not None:
                    return next_one
            candidate.feasible = False
        raise SpaceExhausted

    def _next_waiting(self, known: Collection[str | None]) -> tuple[Trial, BackboneSpec] | None:
        """The first that waits, None if nothing does; one that was tried meanwhile is ended."""
        while self._store.some_wait:
            self._store.study.sampler = RandomSampler(seed=self._generator.getrandbits(32))
            trial = self._store.study.ask()
            try:
                spec = self._space.suggest(trial)
            except SpecError as error:  # enqueued by others, or in part when a process died
                self._store.discard(trial, str(error), buildable=False)
                continue
            if spec.digest not in known or self._store.looks_again(trial):
                return trial, spec
            self._store.discard(trial, "a duplicate")
        return None

    def _forget(self) -> None:
        """Lets go of what candidates are made of that nobody will ask for again."""
        for made in (self._drawn, self._described):
            if len(made) > FORGET_ABOVE + 2 * len(self._store.records):
                for key in [key for key in made if not self._proposer.remembers(key)]:
                    del made[key]

    def _draw(self, trial: BaseTrial) -> None:
        tree = self._space.realise(trial)
        self._drawn[key_of(trial.params)] = tree

    def _describe(self, params: Mapping[str, Any]) -> Description | None:
        """Features of these values for the latency model; None if they make no backbone."""
        key = key_of(params)
        if key not in self._described:
            try:
                self._described[key] = describe(self._space.parse(self._drawn.pop(key)))
            except SpecError:
                self._described[key] = None
        return self._described[key]

    def _spec_of(self, candidate: Candidate) -> BackboneSpec | None:
        """The candidate's backbone; None if its values make none, or `check` refuses it."""
        try:
            spec = self._space.backbone(lambda name, _domain: candidate.params[name])
            self._check(spec)
        except SpecError as error:
            self.passed_over.add(error.problems[0])
            candidate.quantities = {_BUILDABLE: 1.0}
            return None
        return spec

    def _learn(self, trials: list[FrozenTrial]) -> None:
        """Tells the proposer what came on record since it was asked last."""
        for record in self._store.records[self._num_learned :]:
            candidate = self._proposer.learn(trials[record.number].params)
            if candidate is not None and record.counts:
                self._fill(candidate, record)
        new = self._store.records[self._num_learned :]
        if self._axes and any(record.number in self._scored for record in new):
            self._weigh_axes()
        self._num_learned = len(self._store.records)

    def _weigh_axes(self) -> None:
        """Scores all again, by other weights of the axes, so that proposals spread along the front.

        Only if there is a new score, since the proposer models scores again only then.
        """
        scores = front_scores(self._store.records, self._axes, self._generator)
        for number, candidate in self._scored.items():
            candidate.score = scores.get(number, float("nan"))

    def _fill(self, candidate: Candidate, record: TrialRecord) -> None:
        excess = record.constraints
        refused = record.state is TrialState.OOM or excess.get(_BUILDABLE) == NOT_BUILDABLE
        candidate.quantities = {
            name: excess[name]
            for name in self._proposer.quantities
            if name in excess and excess[name] < NOT_BUILDABLE
        }
        candidate.quantities |= {_BUILDABLE: 1.0 if refused else -1.0}
        for mode in self.times:
            measured = record.measurement(mode)
            if measured is not None and measured["images_per_second"] is not None:
                candidate.quantities[mode] = 1 / measured["images_per_second"]
        candidate.feasible = not refused and record.state is not TrialState.REJECTED
        if candidate.feasible:
            candidate.score = float("nan") if record.accuracy is None else record.accuracy
            self._scored[record.number] = candidate
