from __future__ import annotations

import math
import random
from statistics import fmean, median

import pytest

from search.throughput import Verdict
from search.throughput.stopping import LOOKS, autocorrelation, decide, interval

ALPHA = 0.01 / len(LOOKS)


@pytest.mark.parametrize("blocks", LOOKS)
def test_the_interval_misses_the_true_median_rarely(blocks: int) -> None:
    generator = random.Random(1)
    runs, misses = 4000, 0
    for _ in range(runs):
        sample = [math.exp(0.02 * generator.gauss(0, 1)) for _ in range(blocks)]
        _, low, high = interval(sample, ALPHA)
        misses += not low <= 1 <= high
    # 4000 runs at ALPHA expect 10; 25 and more have a probability below 1e-4
    assert misses < 25


@pytest.mark.parametrize("blocks", [12, 24, 48])
def test_outliers_do_not_move_the_interval_of_many_blocks(blocks: int) -> None:
    generator = random.Random(2)
    sample = [1 + 0.001 * generator.random() for _ in range(blocks)]
    sample[3] = 50.0
    _, low, high = interval(sample, 0.05)
    assert low > 0.998
    assert high < 1.01


def test_the_centre_is_the_median_and_lies_inside() -> None:
    generator = random.Random(3)
    for blocks in (3, 4, 7, 10, 25):
        sample = [generator.lognormvariate(0, 0.3) for _ in range(blocks)]
        centre, low, high = interval(sample, ALPHA)
        assert centre == median(sample)
        assert low <= centre <= high


def test_more_blocks_give_a_narrower_interval() -> None:
    generator = random.Random(4)
    sample = [generator.lognormvariate(0, 0.05) for _ in range(40)]
    widths = [math.log(high / low) for _, low, high in (interval(sample[:n], ALPHA) for n in LOOKS)]
    assert widths[0] > widths[1] > widths[3]


@pytest.mark.parametrize(
    ("low", "high", "last", "verdict"),
    [
        (900, 950, False, Verdict.PASS),
        (800, 899, False, Verdict.FAIL),
        (850, 950, False, None),
        (850, 950, True, Verdict.BORDERLINE),
        (895, 905, False, Verdict.BORDERLINE),
        (880, 900, True, Verdict.BORDERLINE),
    ],
)
def test_the_verdict_follows_from_where_the_interval_lies(
    low: float, high: float, last: bool, verdict: Verdict | None
) -> None:
    assert decide(low, high, 900, 0.01, last_look=last) is verdict


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_the_autocorrelation_of_gaussian_noise_is_found_on_the_safe_side(
    correlation: float,
) -> None:
    generator = random.Random(0)
    estimates = []
    for _ in range(200):
        state, sample = generator.gauss(0, 1), []
        for _ in range(200):
            fresh = math.sqrt(1 - correlation**2) * generator.gauss(0, 1)
            state = correlation * state + fresh
            sample.append(math.exp(0.01 * state))
        estimates.append(autocorrelation(sample))
    assert abs(fmean(estimates) - correlation) < 0.1


def test_outliers_do_not_hide_the_autocorrelation() -> None:
    generator = random.Random(0)
    sample = [1.0 + 0.01 * math.sin(block / 8) for block in range(96)]
    spoilt = [s * (3 if generator.random() < 0.05 else 1) for s in sample]
    assert autocorrelation(sample) > 0.8
    assert autocorrelation(spoilt) > 0.6


def test_blocks_that_follow_each_other_widen_the_interval() -> None:
    generator = random.Random(5)
    independent = [generator.lognormvariate(0, 0.01) for _ in range(80)]
    widths = []
    for sample in (independent, sorted(independent)):
        _, low, high = interval(sample, ALPHA)
        widths.append(math.log(high / low))
    assert widths[1] > 3 * widths[0]


def test_three_blocks_that_agree_are_not_taken_for_sure() -> None:
    _, low, high = interval([1.0, 1.0001, 0.9999], ALPHA)
    assert low < 0.965
    assert high > 1.035


def test_short_samples_do_not_hide_the_autocorrelation() -> None:
    """An estimate from 24 blocks alone is too low, by the more the longer the noise remembers."""
    generator = random.Random(0)
    estimates = []
    for _ in range(400):
        state, sample = generator.gauss(0, 1), []
        for _ in range(24):
            state = 0.8 * state + 0.6 * generator.gauss(0, 1)
            sample.append(math.exp(0.01 * state))
        estimates.append(autocorrelation(sample))
    assert fmean(estimates) > 0.68
