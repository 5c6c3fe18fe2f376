"""What to try next: Optuna's TPE under constraints, and never the same backbone twice."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import Trial

from metaformer.errors import SpecError
from metaformer.spec import BackboneSpec
from search.space import SearchSpace
from search.trial_store import TrialStore

STARTUP_TRIALS = 8  # proposed at random before TPE has something to learn from
DISCARDS_BEFORE_RANDOM = 8
DISCARDS_BEFORE_END = 200
_NONE: Mapping[str, int] = MappingProxyType({})


class SpaceExhausted(Exception):
    """No proposal that has not been tried was found; all of the space seems to be known."""


class Strategy:
    """Proposes candidates for one study. Proposals depend on the seed and on what is recorded.

    What `check` refuses with SpecError is passed over, and the sampler learns to avoid it.
    """

    def __init__(
        self,
        store: TrialStore,
        space: SearchSpace,
        seed: int,
        check: Callable[[BackboneSpec], None] = lambda _spec: None,
    ) -> None:
        self._store = store
        self._space = space
        self._seed = seed
        self._check = check

    def propose(self, pending: Mapping[str, int] = _NONE) -> tuple[Trial, BackboneSpec]:
        """The next trial and its backbone; SpaceExhausted where nothing new is left.

        Nothing is proposed whose digest is `pending`: under evaluation, as the trial beside it.
        """
        study = self._store.study
        known = {
            record.digest: record.number
            for record in self._store.records
            if record.digest is not None and record.state.is_final
        } | dict(pending)
        for attempt in range(DISCARDS_BEFORE_END):
            study.sampler = self._sampler(len(study.get_trials(deepcopy=False)), attempt)
            trial = study.ask()
            try:
                spec = self._space.suggest(trial)
                if spec.digest not in known:
                    self._check(spec)
                    return trial, spec
            except SpecError as error:  # values that are legal each, but not together
                self._store.discard(trial, str(error), buildable=False)
            else:
                self._store.discard(trial, f"duplicate of trial {known[spec.digest]}")
        raise SpaceExhausted

    def _sampler(self, num_trials: int, attempt: int) -> BaseSampler:
        """A sampler whose draws follow from the study's seed and the number of the trial."""
        seed = int(np.random.SeedSequence([self._seed, num_trials]).generate_state(1)[0])
        if attempt >= DISCARDS_BEFORE_RANDOM:
            return RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(
                seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, group=True
            )
