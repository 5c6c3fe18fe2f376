"""Which of two rows the study publishes as the faster one, and whether it is so here.

The speeds of two rows are compared round by round, since both were then measured within moments
of each other: what the machine did between rounds cancels. The order of the rows is drawn again for
each round. What the machine did within a round is therefore as likely to favour the one as the
other, whatever it did before, and the ratios of the rounds lie on either side of the true one as
coins fall: the sign test, turned into an interval between two order statistics, holds at its
confidence also where a machine's state changes slowly. It is of this process: see `study_join.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from statistics import median

from scipy.special import bdtr

from metaformer.zoo_table import published

ALPHA = 0.01  # of one comparison
ALIKE = 0.03  # published figures that differ by no more are no order
DEIT, REGNETY = "timm:deit_small_patch16_224", "timm:regnety_040"
MAIN = ("inceptionnext_t", "convnext_t", "swin_t", "resnet50", DEIT, REGNETY)
ABLATIONS = (
    "inceptionnext_t_no_horizontal",
    "inceptionnext_t_no_vertical",
    "inceptionnext_t_no_square",
    "inceptionnext_t_sequential",
    "inceptionnext_t_band7",
    "inceptionnext_t_band9",
    "inceptionnext_t_band13",
    "inceptionnext_t_ratio_1_4",
    "inceptionnext_t_ratio_1_16",
)
KERNELS = ("convnext_t_k5", "convnext_t_k3")
CONVOLVED = tuple(f"convnext_t_k3_ratio_{ratio}" for ratio in ("1_2", "3_8", "1_4", "1_8", "1_16"))
ALL = (*MAIN, *KERNELS, *CONVOLVED, *ABLATIONS)
HEADLINES = (
    *(("inceptionnext_t", other) for other in MAIN[1:]),
    ("convnext_t_k5", "convnext_t"),
    ("convnext_t_k3", "convnext_t_k5"),
    *((ratio, "convnext_t_k3") for ratio in CONVOLVED),
    *((ablation, "inceptionnext_t") for ablation in ABLATIONS),
)
_OF_TIMM = {  # images/s of rows that the zoo has not, A100, batch 128
    DEIT: {"train": 1227.0, "infer": 3781.0},
    REGNETY: {"train": 670.0, "infer": 2694.0},
}
Seconds = Sequence[float | None]  # of a step, by round; None where no valid block was had


class Order(StrEnum):
    """What became of a published order."""

    HELD = "held"
    REVERSED = "reversed"
    NOT_TOLD = "not told"
    ALIKE = "published alike"


@dataclass(frozen=True, slots=True)
class Ratio:
    """Images/s of one row over another's: the median of the rounds.

    Its interval is at confidence 1 - ALPHA, None where there are too few rounds for one.
    """

    value: float
    low: float | None
    high: float | None
    rounds: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two rows; `ratio` is None where they share no valid round."""

    first: str
    second: str
    published: float
    ratio: Ratio | None
    order: Order


def published_speed(name: str, mode: str) -> float:
    """Images/s as the study prints them; KeyError for what is no row of it."""
    speed = _OF_TIMM[name][mode] if name in _OF_TIMM else getattr(published(name), mode)
    if speed is None:
        raise KeyError(name)
    return float(speed)


def ratio_of(first: Seconds, second: Seconds) -> Ratio | None:
    """How many times as fast the first is, from the rounds in which both were measured."""
    pairs = zip(first, second, strict=True)
    ratios = sorted(b / a for a, b in pairs if a is not None and b is not None)
    if not ratios:
        return None
    outside = _outside(len(ratios))
    ends = (None, None) if outside is None else (ratios[outside], ratios[-1 - outside])
    return Ratio(median(ratios), *ends, len(ratios))


def _outside(rounds: int) -> int | None:
    """How many ratios may be left out on a side; None below 8 rounds, which tell nothing.

    No more of them fall short of the true median with a probability of at most ALPHA / 2.
    """
    allowed = sum(bdtr(count, rounds, 0.5) <= ALPHA / 2 for count in range(rounds))
    return allowed - 1 if allowed else None


def order_of(published_ratio: float, ratio: Ratio | None) -> Order:
    """Held or reversed only where the interval lies on one side of 1."""
    if abs(math.log(published_ratio)) <= math.log(1 + ALIKE):
        return Order.ALIKE
    if ratio is None or ratio.low is None or ratio.high is None or ratio.low <= 1 <= ratio.high:
        return Order.NOT_TOLD
    return Order.HELD if (ratio.value > 1) == (published_ratio > 1) else Order.REVERSED


def compare(mode: str, seconds: Mapping[str, Seconds], first: str, second: str) -> Comparison:
    published_ratio = published_speed(first, mode) / published_speed(second, mode)
    ratio = ratio_of(seconds[first], seconds[second])
    return Comparison(first, second, published_ratio, ratio, order_of(published_ratio, ratio))


def all_comparisons(mode: str, seconds: Mapping[str, Seconds]) -> list[Comparison]:
    """Every pair of the rows measured, the one published as faster first."""
    ordered = sorted(seconds, key=lambda name: -published_speed(name, mode))
    return [compare(mode, seconds, first, second) for first, second in combinations(ordered, 2)]


def headlines(mode: str, seconds: Mapping[str, Seconds]) -> list[Comparison]:
    """The orders that the study draws conclusions from, of the rows measured."""
    return [
        compare(mode, seconds, first, second)
        for first, second in HEADLINES
        if first in seconds and second in seconds
    ]


def counts(comparisons: Iterable[Comparison]) -> dict[str, int]:
    found = [comparison.order for comparison in comparisons]
    return {order.value: found.count(order) for order in Order}
