"""Published orders: what holds, what is reversed, what cannot be told."""

from __future__ import annotations

import math
import random

import pytest
from study_orders import (
    ALL,
    HEADLINES,
    Order,
    all_comparisons,
    counts,
    headlines,
    order_of,
    published_speed,
    ratio_of,
)

ROUNDS = 24


def noisy(step_seconds: float, seed: int, noise: float = 0.01) -> list[float | None]:
    generator = random.Random(seed)
    return [step_seconds * (1 + generator.gauss(0, noise)) for _ in range(ROUNDS)]


def test_what_the_machine_does_between_rounds_does_not_touch_a_ratio() -> None:
    generator = random.Random(0)
    machine = [generator.uniform(1, 3) for _ in range(ROUNDS)]
    ratio = ratio_of([0.1 * m for m in machine], [0.2 * m for m in machine])
    assert ratio is not None
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2, 2, 2))


def test_only_rounds_in_which_both_were_measured_count() -> None:
    first, second = noisy(0.1, 1), noisy(0.2, 2)
    first[3], second[7] = None, None
    ratio = ratio_of(first, second)
    assert ratio is not None
    assert ratio.rounds == ROUNDS - 2


def test_seven_rounds_tell_nothing_and_eight_do() -> None:
    few, enough = ratio_of([0.1] * 7, [0.2] * 7), ratio_of([0.1] * 8, [0.2] * 8)
    assert order_of(1.5, few) is Order.NOT_TOLD
    assert order_of(1.5, enough) is Order.HELD
    assert ratio_of([0.1, None], [None, 0.2]) is None
    assert order_of(1.5, None) is Order.NOT_TOLD


def test_an_interval_on_a_drifting_machine_misses_the_ratio_as_seldom_as_it_says() -> None:
    """Two equal rows in drawn order while the machine swings by 20 %, slowly: 1 % may miss."""
    generator = random.Random(0)
    missed = 0
    for _ in range(2000):
        phase = generator.uniform(0, 6)
        first, second = [], []
        for number in range(15):
            moments = [2 * number, 2 * number + 1]
            generator.shuffle(moments)
            machine = [1 + 0.2 * math.sin(phase + moment / 10) for moment in moments]
            first.append(machine[0])
            second.append(machine[1])
        ratio = ratio_of(first, second)
        assert ratio is not None
        assert ratio.low is not None
        assert ratio.high is not None
        missed += not ratio.low <= 1 <= ratio.high
    assert missed <= 0.015 * 2000


@pytest.mark.parametrize(
    ("published", "seconds", "order"),
    [
        (1.2, 0.2, Order.HELD),
        (1.2, 0.05, Order.REVERSED),
        (1.2, 0.1, Order.NOT_TOLD),
        (1.02, 0.2, Order.ALIKE),
        (1 / 1.2, 0.05, Order.HELD),
        (1 / 1.2, 0.2, Order.REVERSED),
        (1 / 1.02, 0.05, Order.ALIKE),
    ],
)
def test_an_order_is_told_only_where_the_interval_lies_on_one_side(
    published: float, seconds: float, order: Order
) -> None:
    assert order_of(published, ratio_of(noisy(0.1, 1), noisy(seconds, 2))) is order


def test_every_row_has_published_figures_of_both_modes() -> None:
    assert all(published_speed(name, mode) > 0 for name in ALL for mode in ("train", "infer"))
    assert {name for pair in HEADLINES for name in pair} <= set(ALL)


def test_rows_as_fast_as_published_hold_every_order() -> None:
    seconds = {name: noisy(1 / published_speed(name, "infer"), 3) for name in ALL}
    found = counts(all_comparisons("infer", seconds))
    assert found["reversed"] == found["not told"] == 0
    assert found["held"] + found["published alike"] == len(ALL) * (len(ALL) - 1) // 2


def test_a_headline_needs_both_of_its_rows() -> None:
    seconds = {name: noisy(0.1, 1) for name in ("inceptionnext_t", "convnext_t")}
    found = [(one.first, one.second) for one in headlines("train", seconds)]
    assert found == [("inceptionnext_t", "convnext_t")]
