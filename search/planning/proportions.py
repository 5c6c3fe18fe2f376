"""Shares of candidates with their intervals, and values of parameters that never make a budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, pvariance
from typing import Any

from scipy.stats import beta, binomtest, norm
from scipy.stats import t as student

from mixers import OptionValue

CONFIDENCE = 0.95
_NOTHING = 1e-9  # of a candidate
ENOUGH_JUDGED = 8  # candidates with a value, before it is said never to meet the budget


@dataclass(frozen=True)
class Share:
    """A share of candidates, 0..1, and the interval that holds the true one with 95 %."""

    value: float
    low: float
    high: float

    def to_data(self) -> dict[str, float]:
        return asdict(self)


def share_of(successes: int, tried: int, *, confidence: float = CONFIDENCE) -> Share:
    """By Clopper and Pearson; of nothing tried, all is possible."""
    if tried == 0:
        return Share(float("nan"), 0.0, 1.0)
    interval = binomtest(successes, tried).proportion_ci(confidence, method="exact")
    return Share(successes / tried, float(interval.low), float(interval.high))


def share_of_both(first: tuple[int, int], second: tuple[int, int]) -> Share:
    """Of what passes two filters, `(passed, tried)` each, the second tried on the first's.

    Each has half of the error, so that the product of the bounds holds together.
    """
    half = 1 - (1 - CONFIDENCE) / 2
    one, two = share_of(*first, confidence=half), share_of(*second, confidence=half)
    return Share(one.value * two.value, one.low * two.low, one.high * two.high)


def share_of_chances(chances: Sequence[float], error: float, *, measured: int) -> Share:
    """The mean of `chances`, each 0, 1 or predicted, of candidates drawn at random.

    `error` is the variance of the mean that comes from the predictions, which rest on `measured`
    candidates. The interval is Clopper and Pearson's for as many candidates as would have the same
    variance (Korn and Graubard 1998, Confidence intervals for proportions with small expected
    number of positive counts), no fewer than were measured and no more than were drawn.
    """
    value, drawn = fmean(chances), len(chances)
    variance = pvariance(chances) / drawn + error
    effective = value * (1 - value) / variance if variance > 0 else float(drawn)
    tail = (1 + CONFIDENCE) / 2
    effective *= float(norm.ppf(tail) / student.ppf(tail, df=measured - 1)) ** 2
    effective = min(max(effective, measured), drawn)
    found, missed = value * effective, (1 - value) * effective
    low = float(beta.ppf(1 - tail, found, missed + 1)) if found > _NOTHING else 0.0
    high = float(beta.ppf(tail, found + 1, missed)) if missed > _NOTHING else 1.0
    return Share(value, low, high)


@dataclass(frozen=True)
class Dead:
    """A value of a parameter under which none of `judged` candidates met the budget."""

    parameter: str
    value: OptionValue
    judged: int

    def __str__(self) -> str:
        return f"{self.parameter}: {self.value}: 0 of {self.judged}"


def dead_values(
    candidates: Iterable[tuple[Mapping[str, OptionValue], bool | None]],
) -> list[Dead]:
    """The values under which no candidate met the budget, though enough were judged.

    Each candidate has its parameters and whether it met the budget; a value with one of which that
    is not known (None) is not said to be dead.
    """
    verdicts: dict[tuple[str, Any], list[bool | None]] = {}
    for parameters, made_it in candidates:
        for name, value in parameters.items():
            verdicts.setdefault((name, value), []).append(made_it)
    return [
        Dead(name, value, len(found))
        for (name, value), found in sorted(verdicts.items(), key=lambda item: repr(item[0]))
        if len(found) >= ENOUGH_JUDGED and not any(one is not False for one in found)
    ]
