"""Proposer of the next candidate: the one with the highest expected gain for its cost.

To measure a candidate is to open a box that holds its expected improvement EI of the score with
the probability P that it keeps its limits. The order that gains the most is known (Weitzman 1979,
Optimal search for the best alternative): by EI - c / P, c the price of a measurement, and those
known to be feasible stand in the same line at EI, nothing being left to pay. The price follows
from how many measurements may be spent on each evaluation: that many cost what they can gain.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np

from search.bayesopt._score_model import ScoreModel
from search.bayesopt.constraint_model import Quantity, QuantityModel
from search.bayesopt.define_by_run import Key, Params, Space, key_of
from search.bayesopt.encoding import EncodedCandidates, Features
from search.bayesopt.gaussian_process import Array
from search.bayesopt.history import Candidate
from search.bayesopt.limits import AtLeast

NUM_STARTUP = 6  # evaluated before the score is modelled
NUM_DRAWN = 32  # new random candidates each time
MAX_DRAWS = 100  # times that many before the space counts as exhausted
MAX_FIRST_DRAWS = 3000  # before it counts as empty
NUM_GENERATIONS = 3  # of neighbours of the most promising
MORE_GENERATIONS = 10  # if a maximum is never reached, only neared
NUM_PARENTS = 8
NUM_CHILDREN = 8  # of each parent
MAX_POOL = 512  # candidates kept in mind
MAX_STARTUP_POOL = 4096  # while there are too few scores to say which are worth it
LOWEST = -300.0  # of a logarithm that is to be raised again


class Proposer:
    """Proposes from a pool that it keeps: random candidates, and neighbours of the promising.

    The candidates that it returns are the caller's to fill in; it reads them at the next proposal.
    Those of which nothing is said yet count as being evaluated. What surely misses a limit is
    proposed only if nothing else is left; `num_ruled_out` is how many such came to mind.
    """

    def __init__(
        self,
        space: Space,
        quantities: Mapping[str, Quantity],
        generator: random.Random,
    ) -> None:
        self.quantities = quantities
        self._ruled_out: set[Key] = set()  # of the pool
        self._num_forgotten = 0  # that were ruled out when they left the pool
        self._space = space
        self._generator = generator
        self._known: dict[Key, Candidate] = {}
        self._pool: dict[Key, Params] = {}
        self._rows: dict[Key, Array] = {}
        self._features = Features(space.distributions)
        self._score = ScoreModel(generator)
        self._log_chances: dict[Key, float] = {}  # those of this proposal
        self._known_gains: dict[Key, float] = {}
        self._modelled: tuple[int, frozenset[Key]] | None = None  # scores, and who has none yet
        self._finite: dict[str, QuantityModel] = {}  # whether a quantity can be told at all
        self._num_searched = -1  # scores known at the last thorough search of the pool

    @property
    def num_ruled_out(self) -> int:
        return len(self._ruled_out) + self._num_forgotten

    def remembers(self, key: Key) -> bool:
        """Return whether that candidate is known or in the pool; what is not may be forgotten."""
        return key in self._known or key in self._pool

    def learn(self, params: Params) -> Candidate | None:
        """The candidate of these values, known from now on; None if the space has none."""
        replayed = self._space.replay(params)
        if replayed is None:
            return None
        key = key_of(replayed)
        self._pool.pop(key, None)
        return self._known.setdefault(key, Candidate(len(self._known), replayed))

    def propose(self, *, allowance: float) -> Candidate | None:
        """A feasible candidate to evaluate, or a new one; None if there is neither.

        `allowance` is how many measurements an evaluation may cost; at 0 nothing new is proposed.
        """
        stock = {k: c for k, c in self._known.items() if c.feasible and c.score is None}
        starting = sum(c.score is not None for c in self._known.values()) < NUM_STARTUP
        if stock and starting:
            return next(iter(stock.values()))
        fresh = allowance > 0 and self._fill_pool()
        if not stock and not fresh:
            return None
        self._condition()
        line = list(self._pool) + list(stock) if fresh else list(stock)
        worths = self._worths(line, starting, allowance)
        if starting and worths.max() > 0:  # at random among those worth their price
            worthwhile = [line[int(index)] for index in np.flatnonzero(worths > 0)]
            taken = self._take(self._generator.choice(worthwhile))
            if len(self._pool) > MAX_STARTUP_POOL:
                self._keep(self._generator.sample(list(self._pool), MAX_STARTUP_POOL // 2))
            return taken
        if fresh:
            line = self._searched(starting, allowance) + list(stock)
            worths = self._worths(line, starting, allowance)
        chosen = line[int(worths.argmax())]
        return stock[chosen] if chosen in stock else self._take(chosen)

    def _take(self, key: Key) -> Candidate:
        candidate = Candidate(len(self._known), self._pool.pop(key))
        self._ruled_out.discard(key)
        self._known[key] = candidate
        return candidate

    def _fill_pool(self) -> bool:
        """Adds random candidates, and neighbours of those known if few are legal; whether there
        is any that is not known yet."""
        known = [candidate.params for candidate in self._known.values()]
        for _ in range(MAX_DRAWS if known else MAX_FIRST_DRAWS):
            for _ in range(NUM_DRAWN):
                self._offer(self._space.draw(self._generator))
            if self._pool:
                return True
            for parent in self._generator.choices(known, k=NUM_DRAWN) if known else ():
                self._offer(self._space.neighbour(parent, self._generator))
        return bool(self._pool)

    def _offer(self, params: Params | None) -> Key | None:
        """The key of a candidate that is new to the pool."""
        if params is None:
            return None
        key = key_of(params)
        if key in self._known or key in self._pool:
            return None
        self._pool[key] = params
        return key

    def _condition(self) -> None:
        """Brings the models up to what is known."""
        self._log_chances.clear()
        if self._features.num_parameters != len(self._space.distributions):
            self._features = Features(self._space.distributions)
            self._rows.clear()
            self._modelled = None
        for name, model in self.quantities.items():
            measured = [k for k, c in self._known.items() if name in c.quantities]
            values = np.array([self._known[key].quantities[name] for key in measured])
            finite = np.isfinite(values)
            if not finite.all():  # as of what does not run: it misses, and others like it may
                told = self._finite.setdefault(name, QuantityModel(AtLeast(0.5)))
                told.condition(self._seen(measured), finite.astype(np.float64))
            known = [key for key, good in zip(measured, finite, strict=True) if good]
            model.condition(self._seen(known), values[finite])
        scored = [k for k, c in self._known.items() if c.score is not None]
        pending = [k for k, c in self._known.items() if c.feasible is None]
        modelled = len(scored), frozenset(pending)
        if len(scored) < NUM_STARTUP or modelled == self._modelled:
            return
        self._modelled = modelled
        self._known_gains.clear()
        scores = np.array([self._known[key].score for key in scored], dtype=np.float64)
        finite = scores[np.isfinite(scores)]
        lowest = finite.min() if len(finite) else 0.0
        scores = np.where(np.isfinite(scores), scores, lowest)  # diverged: as bad as the worst
        self._score.condition(self._features, self._rows_of(scored), scores)
        if pending:
            self._score.believe(self._rows_of(pending))

    def _seen(self, keys: Sequence[Key]) -> EncodedCandidates:
        return EncodedCandidates(self._params_of(keys), self._features, self._rows_of(keys))

    def _params_of(self, keys: Sequence[Key]) -> list[Params]:
        return [self._known[k].params if k in self._known else self._pool[k] for k in keys]

    def _rows_of(self, keys: Sequence[Key]) -> Array:
        missing = [key for key in keys if key not in self._rows]
        rows = self._features.rows(self._params_of(missing))
        self._rows.update(zip(missing, rows, strict=True))
        if not keys:
            return np.empty((0, len(self._features.groups)))
        return np.stack([self._rows[key] for key in keys])

    def _gains(self, keys: Sequence[Key]) -> Array:
        """ln EI of each, worked out once while no score is added."""
        missing = [key for key in keys if key not in self._known_gains]
        if missing:
            gains = self._score.log_gains(self._rows_of(missing))
            self._known_gains.update(zip(missing, gains.tolist(), strict=True))
        return np.array([self._known_gains[key] for key in keys])

    def _worths(self, keys: Sequence[Key], starting: bool, allowance: float) -> Array:
        """EI - c / P of each, in units of what a round of `allowance` measurements can gain."""
        gains = np.zeros(len(keys)) if starting else self._gains(keys)
        if not self.quantities:
            return gains
        new = np.array([key not in self._known for key in keys])
        missing = [k for k in keys if k not in self._known and k not in self._log_chances]
        if missing:
            self._log_chances.update(zip(missing, self._chances(missing), strict=True))
        log_chances = np.array([self._log_chances.get(key, 0.0) for key in keys])
        if not new.any():
            return gains
        log_rounds = np.maximum(log_chances + np.log(allowance), LOWEST)  # finds a round brings
        reach = float((gains + np.minimum(log_rounds, 0)).max())
        worths: Array = np.exp(np.clip(gains - reach, LOWEST, -LOWEST))
        worths[new] -= np.exp(-log_rounds[new])
        return worths

    def _chances(self, keys: Sequence[Key]) -> Array:
        """ln of the probability that each keeps all limits; notes those that surely do not."""
        seen = self._seen(keys)
        total, ruled_out = np.zeros(len(keys)), np.zeros(len(keys), dtype=np.bool_)
        for model in self.quantities.values():
            chances = model.log_chance(seen)
            total += chances
            ruled_out |= model.rules_out(chances)
        for model in self._finite.values():
            total += model.log_chance(seen)
        self._ruled_out.difference_update(keys)
        self._ruled_out.update(key for key, out in zip(keys, ruled_out, strict=True) if out)
        return total

    def _searched(self, starting: bool, allowance: float) -> list[Key]:
        """The pool after some generations of neighbours of the best."""
        keys = list(self._pool)
        worths = self._worths(keys, starting, allowance)
        num_scored = sum(c.score is not None for c in self._known.values())
        fresh = num_scored != self._num_searched
        self._num_searched = num_scored
        parents = self._incumbents() if fresh else []
        number = MORE_GENERATIONS if self._space.is_continuous else NUM_GENERATIONS
        for _ in range(number if fresh else 1):
            order = np.argsort(-worths, kind="stable")[:NUM_PARENTS]
            parents += [self._pool[keys[int(index)]] for index in order]
            born = [
                key
                for parent in parents
                for _ in range(NUM_CHILDREN)
                if (key := self._offer(self._space.neighbour(parent, self._generator))) is not None
            ]
            parents = []
            if self._features.num_parameters != len(self._space.distributions):
                break  # new parameters are known to the models from the next proposal on
            keys += born
            worths = self._worths(keys, starting, allowance)
        kept = np.sort(np.argsort(-worths, kind="stable")[:MAX_POOL])
        keys = [keys[int(index)] for index in kept]
        self._keep(keys)
        return keys

    def _keep(self, keys: Sequence[Key]) -> None:
        """Makes `keys` the pool, and forgets what was worked out of others."""
        self._pool = {key: self._pool[key] for key in keys}
        left = {key for key in self._ruled_out if key not in self._pool}
        self._ruled_out -= left
        self._num_forgotten += len(left)
        for worked_out in (self._rows, self._known_gains):
            for key in [key for key in worked_out if not self.remembers(key)]:
                del worked_out[key]

    def _incumbents(self) -> list[Params]:
        """The best evaluated; if none is, those measured nearest to their limits."""
        known = list(self._known.values())
        scored = [c for c in known if c.score is not None and np.isfinite(c.score)]
        best = sorted(scored, key=lambda c: -(c.score or 0.0))[: NUM_PARENTS // 2]
        return [c.params for c in best]
