"""A space of candidates: what may be drawn from it, and what lies near a candidate."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, TypeAlias

from optuna import TrialPruned
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial

from search.bayesopt.probe_trial import ProbeTrial

Params: TypeAlias = dict[str, Any]
Key: TypeAlias = str
SpaceLike: TypeAlias = (
    Mapping[str, Sequence[Any] | range | BaseDistribution] | Callable[[BaseTrial], Any]
)

MORE_CHANGES = 0.4  # the chance that another parameter changes with those that do
LOCAL_STEPS = (0.003, 0.3)  # standard deviations of small changes, as a share of the range


def key_of(params: Mapping[str, Any]) -> Key:
    """Return a key that two candidates share exactly if they are equal."""
    return ", ".join(sorted([f"{name!r}: {value!r}" for name, value in params.items()]))


def is_ordered(distribution: BaseDistribution) -> bool:
    """Return whether nearness of values means something: a range, or three or more numbers."""
    if not isinstance(distribution, CategoricalDistribution):
        return True
    numbers = [
        isinstance(choice, Real) and not isinstance(choice, bool) for choice in distribution.choices
    ]
    return len(numbers) > 2 and all(numbers)


def is_continuous(distribution: BaseDistribution) -> bool:
    """Return whether it has values between any two."""
    return isinstance(distribution, FloatDistribution) and distribution.step is None


class Space:
    """Candidates of a space that is either a mapping or a callable.

    A mapping holds, by name, a sequence of choices, a `range`, or one of Optuna's distributions.
    A callable asks a trial for values, as an objective of Optuna does, and may ask for some only
    where others have certain values; it raises TrialPruned if they do not go together.
    `distributions` are those of all parameters met so far.
    """

    def __init__(self, space: SpaceLike) -> None:
        self.distributions: dict[str, BaseDistribution] = {}
        if callable(space):
            self._define = space
        elif not isinstance(space, Mapping) or not space:
            words = "allowed: domains by parameter, or a callable on a trial"
            raise ValueError(f"space: got {space!r}; {words}")
        else:
            fixed = {name: _distribution(name, domain) for name, domain in space.items()}
            self.distributions.update(fixed)

            def define(trial: BaseTrial) -> None:
                assert isinstance(trial, ProbeTrial)
                for name, distribution in fixed.items():
                    trial.suggest(name, distribution)

            self._define = define

    def draw(self, generator: random.Random) -> Params | None:
        """A candidate drawn choice by choice; None if its values do not go together."""
        return self._realise(lambda _name, distribution: _drawn(distribution, generator))

    def replay(self, params: Params) -> Params | None:
        """The candidate of these values; None if the space no longer holds it."""

        def pick(name: str, distribution: BaseDistribution) -> Any:
            if name not in params or not _holds(distribution, params[name]):
                raise TrialPruned
            return params[name]

        return self._realise(pick)

    def neighbour(self, params: Params, generator: random.Random) -> Params | None:
        """`params` with one parameter changed, seldom more; what thereby opens is drawn."""
        names = list(params)
        if not names:
            return None
        number = 1
        while number < len(names) and generator.random() < MORE_CHANGES:
            number += 1
        changed = set(generator.sample(names, number))

        def pick(name: str, distribution: BaseDistribution) -> Any:
            known = self.distributions.get(name)
            if name not in params or (distribution is not known and distribution != known):
                return _drawn(distribution, generator)
            if name in changed:
                return _changed(distribution, params[name], generator)
            return params[name]

        return self._realise(pick)

    def _realise(self, pick: Callable[[str, BaseDistribution], Any]) -> Params | None:
        draft = ProbeTrial(pick)
        try:
            self._define(draft)
        except TrialPruned:
            return None
        for name, distribution in draft.distributions.items():
            known = self.distributions.setdefault(name, distribution)
            if isinstance(known, CategoricalDistribution) and known != distribution:
                raise ValueError(
                    f"space: {name}: got other choices than before, {distribution}; "
                    f"allowed: the same each time, {known}"
                )
        return draft.params

    @property
    def is_continuous(self) -> bool:
        """True if any parameter has values between any two."""
        return any(map(is_continuous, self.distributions.values()))


def _distribution(name: str, domain: Any) -> BaseDistribution:
    if isinstance(domain, BaseDistribution):
        return domain
    if isinstance(domain, range) and len(domain) > 0 and domain.step > 0:
        return IntDistribution(domain[0], domain[-1], step=domain.step)
    if _may_be_a_range(domain):
        low, high = domain
        raise ValueError(
            f"space[{name!r}]: got {domain!r}, two choices or the ends of a range; allowed: "
            f"[{low!r}, {high!r}] for two choices, optuna.distributions.FloatDistribution"
            f"({low!r}, {high!r}) or IntDistribution for a range"
        )
    if isinstance(domain, Sequence) and not isinstance(domain, str) and len(domain) > 0:
        return CategoricalDistribution(domain)
    words = "allowed: a sequence of choices, a range, or a distribution of Optuna's"
    raise ValueError(f"space[{name!r}]: got {domain!r}; {words}")


def _may_be_a_range(domain: Any) -> bool:
    """Return whether it is a tuple of two ascending numbers, as a range is written elsewhere."""
    if not isinstance(domain, tuple) or len(domain) != 2:
        return False
    numbers = [one for one in domain if isinstance(one, Real) and not isinstance(one, bool)]
    return len(numbers) == 2 and numbers[0] < numbers[1]


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return bool(distribution.low <= value <= distribution.high)


def position(distribution: BaseDistribution, value: Any) -> float:
    """Position of an ordered value between the lowest, 0, and the highest, 1."""
    if isinstance(distribution, CategoricalDistribution):
        ranked = sorted(distribution.choices)  # type: ignore[type-var]  # numbers: is_ordered
        return ranked.index(value) / (len(ranked) - 1)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if high == low:
        return 0.0
    if distribution.log:
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _value_at(distribution: BaseDistribution, share: float) -> Any:
    """The value nearest to a position between 0 and 1."""
    if isinstance(distribution, CategoricalDistribution):
        ranked = sorted(distribution.choices)  # type: ignore[type-var]  # numbers: is_ordered
        return ranked[round(share * (len(ranked) - 1))]
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    if distribution.step is not None:
        value = low + round((value - low) / distribution.step) * distribution.step
    value = min(max(value, low), high)
    return round(value) if isinstance(distribution, IntDistribution) else value


def _drawn(distribution: BaseDistribution, generator: random.Random) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return generator.choice(distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high, step = distribution.low, distribution.high, distribution.step
    if isinstance(distribution, IntDistribution) and distribution.log:
        drawn = math.exp(generator.uniform(math.log(low - 0.5), math.log(high + 0.5)))
        return min(max(round(drawn), low), high)
    if step is not None:
        return low + step * generator.randrange(round((high - low) / step) + 1)
    return _value_at(distribution, generator.random())


def _changed(distribution: BaseDistribution, value: Any, generator: random.Random) -> Any:
    """Another value: any other choice; of an ordered one, half the time one that lies near."""
    if distribution.single():
        return value
    if is_ordered(distribution) and generator.random() < 0.5:
        start = position(distribution, value)
        return _stepped(distribution, value, start, generator)
    for _ in range(8):
        other = _drawn(distribution, generator)
        if other != value:
            return other
    return value


def _stepped(
    distribution: BaseDistribution, value: Any, start: float, generator: random.Random
) -> Any:
    """The first other value along a direction, or one a small random step away."""
    low, high = LOCAL_STEPS
    step = generator.gauss() * low * (high / low) ** generator.random()
    for _ in range(8):
        other = _value_at(distribution, min(max(start + step, 0.0), 1.0))
        if other != value:
            return other
        step *= 2  # on a coarse grid a small step ends where it began
    return value
