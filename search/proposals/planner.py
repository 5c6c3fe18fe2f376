"""Which candidate to look at next: the one with the most to gain that likely keeps its limits.

A candidate's promise is ln EI + Σ ln P(quantity keeps its limit), EI the expected improvement of
the score over the best so far (Gardner et al. 2014, Bayesian optimisation with inequality
constraints). Those known to be feasible compete with those not measured yet, whose chances come
from a model of each quantity; what was rejected teaches these models.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from search.history import Candidate
from search.proposals.features import Features
from search.proposals.gaussian_process import Array
from search.proposals.limits import Limit
from search.proposals.parameters import Key, Params, Space, key_of
from search.proposals.quantity import QuantityModel
from search.proposals.surrogate import Model, log_expected_improvement, warped

NUM_STARTUP = 6  # evaluated before the score is modelled
NUM_DRAWN = 32  # new random candidates each time
MAX_DRAWS = 100  # times that many before the space counts as exhausted
NUM_GENERATIONS = 3  # of neighbours of the most promising
NUM_PARENTS = 8
NUM_CHILDREN = 8  # of each parent
MAX_POOL = 512  # candidates kept in mind


class Planner:
    """Proposes from a pool that it keeps: random candidates, and neighbours of the promising.

    The candidates that it returns are the caller's to fill in; it reads them at the next proposal.
    """

    def __init__(
        self,
        space: Space,
        limits: Mapping[str, Limit],
        generator: random.Random,
        admit: Callable[[Params], bool] = lambda _params: True,
    ) -> None:
        """What `admit` refuses is neither proposed nor counted."""
        self.quantities = {name: QuantityModel(limit) for name, limit in limits.items()}
        self._space = space
        self._generator = generator
        self._admit = admit
        self._known: dict[Key, Candidate] = {}
        self._refused: set[Key] = set()
        self._pool: dict[Key, Params] = {}
        self._rows: dict[Key, Array] = {}
        self._features = Features(space.distributions)
        self._score = Model()
        self._best = 0.0
        self._known_gains: dict[Key, float] = {}
        self._num_modelled = -1  # scores in the model
        self._num_searched = -1  # scores known at the last thorough search of the pool

    def propose(self, *, may_measure: bool) -> Candidate | None:
        """A feasible candidate to evaluate, or a new one if `may_measure`; None if there is none."""
        stock = {k: c for k, c in self._known.items() if c.feasible and c.score is None}
        starting = sum(c.score is not None for c in self._known.values()) < NUM_STARTUP
        if stock and (starting or not may_measure):
            if starting:
                return next(iter(stock.values()))
            self._condition()
            return self._known[max(zip(self._gains(list(stock)), stock, strict=True))[1]]
        if not may_measure or not self._fill_pool():
            return None
        self._condition()
        keys, promises = self._searched(starting)
        if starting:  # random, the likely more often
            weights = np.exp(promises - promises.max())
            return self._take(self._generator.choices(keys, weights.tolist())[0])
        if stock:
            gains = self._gains(list(stock))
            if gains.max() >= promises.max():
                return self._known[list(stock)[int(gains.argmax())]]
        return self._take(keys[int(promises.argmax())])

    def _take(self, key: Key) -> Candidate:
        candidate = Candidate(len(self._known), self._pool.pop(key))
        self._known[key] = candidate
        return candidate

    def _fill_pool(self) -> bool:
        """Adds random candidates; whether there is any that is not known yet."""
        for _ in range(MAX_DRAWS):
            for _ in range(NUM_DRAWN):
                self._offer(self._space.draw(self._generator))
            if self._pool:
                return True
        return False

    def _offer(self, params: Params | None) -> Key | None:
        """The key of a candidate that is new to the pool."""
        if params is None:
            return None
        key = key_of(params)
        if key in self._known or key in self._pool or key in self._refused:
            return None
        if not self._admit(params):
            self._refused.add(key)
            return None
        self._pool[key] = params
        return key

    def _condition(self) -> None:
        """Brings the models up to what is known."""
        if self._features.num_parameters != len(self._space.distributions):
            self._features = Features(self._space.distributions)
            self._rows.clear()
            self._num_modelled = -1
        for name, model in self.quantities.items():
            measured = [k for k, c in self._known.items() if name in c.quantities]
            values = [self._known[key].quantities[name] for key in measured]
            model.condition(self._features, self._rows_of(measured), np.array(values))
        scored = [k for k, c in self._known.items() if c.score is not None]
        if len(scored) < NUM_STARTUP or len(scored) == self._num_modelled:
            return
        self._num_modelled = len(scored)
        self._known_gains.clear()
        scores = np.array([self._known[key].score for key in scored], dtype=np.float64)
        scores = np.where(np.isfinite(scores), scores, np.nanmin(scores))  # diverged: the worst
        values, rows = warped(scores), self._rows_of(scored)
        self._score.condition(self._features, rows, values, values)
        self._best = float(self._score.predict(rows)[0].max())

    def _rows_of(self, keys: Sequence[Key]) -> Array:
        missing = [key for key in keys if key not in self._rows]
        params = [self._known[k].params if k in self._known else self._pool[k] for k in missing]
        self._rows.update(zip(missing, self._features.rows(params), strict=True))
        if not keys:
            return np.empty((0, len(self._features.groups)))
        return np.stack([self._rows[key] for key in keys])

    def _gains(self, keys: Sequence[Key]) -> Array:
        """ln EI of each, worked out once while no score is added."""
        missing = [key for key in keys if key not in self._known_gains]
        if missing:
            mean, deviation = self._score.predict(self._rows_of(missing))
            gains = log_expected_improvement(mean, deviation, self._best)
            self._known_gains.update(zip(missing, gains.tolist(), strict=True))
        return np.array([self._known_gains[key] for key in keys])

    def _promises(self, keys: Sequence[Key], starting: bool) -> Array:
        rows = self._rows_of(keys)
        promises = np.zeros(len(keys)) if starting else self._gains(keys)
        for model in self.quantities.values():
            promises = promises + model.log_chance(rows)
        return promises

    def _searched(self, starting: bool) -> tuple[list[Key], Array]:
        """The pool after some generations of neighbours of the best, and its promises."""
        keys = list(self._pool)
        promises = self._promises(keys, starting)
        scored = [c for c in self._known.values() if c.score is not None]
        fresh = len(scored) != self._num_searched
        self._num_searched = len(scored)
        parents = self._incumbents() if fresh else []
        for _ in range(NUM_GENERATIONS if fresh else 1):
            order = np.argsort(-promises, kind="stable")[:NUM_PARENTS]
            parents += [self._pool[keys[int(index)]] for index in order]
            born = [
                key
                for parent in parents
                for _ in range(NUM_CHILDREN)
                if (key := self._offer(self._space.neighbour(parent, self._generator))) is not None
            ]
            parents = []
            if self._features.num_parameters != len(self._space.distributions):
                continue  # new parameters are known to the models from the next proposal on
            keys += born
            promises = np.concatenate([promises, self._promises(born, starting)])
        if len(keys) > MAX_POOL:
            kept = np.sort(np.argsort(-promises, kind="stable")[:MAX_POOL])
            keys, promises = [keys[int(index)] for index in kept], promises[kept]
            self._pool = {key: self._pool[key] for key in keys}
        return keys, promises

    def _incumbents(self) -> list[Params]:
        """The best evaluated; where none is, those measured nearest to their limits."""
        known = list(self._known.values())
        scored = [c for c in known if c.score is not None and np.isfinite(c.score)]
        best = sorted(scored, key=lambda c: -(c.score or 0.0))[: NUM_PARENTS // 2]
        return [c.params for c in best]
