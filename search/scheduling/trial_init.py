"""Initial state of a trial: from scratch, resumed from a checkpoint, or warm-started."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from optuna.trial import Trial

from metaformer.spec import BackboneSpec
from mixers import MixerRegistry
from search.config.provenance import mixer_origins
from search.config.study import StudyConfig
from search.scheduling._warm_start import nearest
from search.scheduling.successive_halving import Halving, epochs_of
from search.storage.records import TrialRecord, TrialState
from search.storage.trial_store import TrialStore


@dataclass(frozen=True)
class TrialInitializer:
    """`origins` says where a candidate's mixers came from. With `halving` candidates train in
    parts; if they `inherit`, they begin with the weights of others."""

    store: TrialStore
    origins: Callable[[BackboneSpec], list[dict[str, str]]] = lambda _spec: []
    halving: Halving | None = None
    inherit: bool = False

    def record(self, trial: Trial, spec: BackboneSpec) -> TrialRecord:
        """The record of a trial that begins: new, or one that trains another's candidate on."""
        record = new_record(trial.number, spec, TrialState.FAILED)
        record.mixers = self.origins(spec)
        record.confirms = self.store.confirmed_by(trial)
        earlier = self.store.continued_by(trial)
        if earlier is not None:
            record = replace(
                earlier,
                number=trial.number,
                state=TrialState.FAILED,
                reason="",
                continues=earlier.number,
                score=None,
                seconds={},
            )
        elif self.inherit and record.confirms is None:
            near = nearest(trial.params, self.store.records, self.store.params())
            if near is not None:
                record.inherited = {"trial": near.number, "digest": near.digest}
        if self.halving is not None and record.confirms is None:
            record.epochs = self.halving.next_rung(0 if earlier is None else epochs_of(earlier))
        return record


def trial_initializer(
    config: StudyConfig, store: TrialStore, registry: MixerRegistry
) -> TrialInitializer:
    """As a study's settings have it."""
    factor = config.search.halving
    halving = None if factor is None else Halving(config.train.epochs, factor)
    origins = partial(mixer_origins, registry=registry)
    return TrialInitializer(store, origins, halving, config.train.inherit)


def new_record(number: int, spec: BackboneSpec, state: TrialState) -> TrialRecord:
    return TrialRecord(number=number, state=state, spec=spec.to_data(), digest=spec.digest)
