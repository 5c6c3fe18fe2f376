"""Shares with their intervals, and values that never make a budget."""

from __future__ import annotations

import math

import pytest

from search.planning.proportions import (
    ENOUGH_JUDGED,
    Dead,
    dead_values,
    share_of,
    share_of_both,
    share_of_chances,
)


def test_the_interval_is_that_of_clopper_and_pearson() -> None:
    share = share_of(5, 12)
    assert share.value == pytest.approx(5 / 12)
    assert (share.low, share.high) == pytest.approx((0.1517, 0.7233), abs=1e-4)
    none = share_of(0, 12)
    assert (none.low, none.high) == pytest.approx((0.0, 1 - 0.025 ** (1 / 12)))


def test_of_nothing_tried_all_is_possible() -> None:
    share = share_of(0, 0)
    assert math.isnan(share.value)
    assert (share.low, share.high) == (0.0, 1.0)


def test_two_filters_one_after_the_other_are_less_certain_than_either() -> None:
    both, second = share_of_both((80, 100), (5, 10)), share_of(5, 10)
    assert both.value == pytest.approx(0.4)
    assert both.low < 0.8 * second.low
    assert both.high < second.high
    certain = share_of_both((10**6, 10**6), (5, 10))
    assert certain.low < second.low  # each has half of the error


def test_a_value_is_dead_where_enough_were_judged_and_none_made_it() -> None:
    fails = [({"mixer": "attention", "depth": 1 + n % 2}, False) for n in range(ENOUGH_JUDGED)]
    passes = [({"mixer": "pooling", "depth": 1}, True)]
    assert dead_values([*fails, *passes]) == [Dead("mixer", "attention", ENOUGH_JUDGED)]
    assert str(Dead("mixer", "attention", 9)) == "mixer: attention: 0 of 9"
    assert dead_values(fails[1:]) == []


def test_a_value_with_a_candidate_that_was_not_judged_is_not_dead() -> None:
    fails = [({"mixer": "attention"}, False)] * ENOUGH_JUDGED
    assert dead_values([*fails, ({"mixer": "attention"}, None)]) == []


def test_chances_that_are_certain_are_counts() -> None:
    certain = share_of_chances([1.0] * 5 + [0.0] * 15, 0.0, measured=10**6)
    assert vars(certain) == pytest.approx(vars(share_of(5, 20)))
    none = share_of_chances([0.0] * 20, 0.0, measured=10**6)
    assert vars(none) == pytest.approx(vars(share_of(0, 20)))


def test_a_share_of_predictions_is_less_certain_the_worse_they_are() -> None:
    chances = [0.9] * 30 + [0.1] * 70
    good, bad = (share_of_chances(chances, error, measured=24) for error in (1e-3, 4e-3))
    assert good.value == bad.value == pytest.approx(0.34)
    assert bad.low < good.low < 0.34 < good.high < bad.high
    hopeless = share_of_chances(chances, 1.0, measured=24)
    alone = share_of(int(0.34 * 24), 24)  # no worse than what was measured says by itself
    assert hopeless.high - hopeless.low == pytest.approx(alone.high - alone.low, abs=0.02)
