from __future__ import annotations

import pytest

from search.formatting import budget_words, interval, speed


@pytest.mark.parametrize(
    ("mode", "words"),
    [("train", "200 images/s [160, 250]"), ("latency", "5 ms [4, 6.25]")],
)
def test_a_latency_is_told_in_milliseconds_and_its_lower_end_comes_first(
    mode: str, words: str
) -> None:
    measured = {"mode": mode, "images_per_second": 200.0, "low": 160.0, "high": 250.0}
    assert f"{speed(measured)} {interval(measured)}" == words


def test_every_limit_of_a_budget_has_its_unit() -> None:
    budget = {"train": 900.0, "infer": 2900.5, "latency": 4.0, "memory": 2, "params": 200000}
    assert budget_words(budget) == (
        "train 900 images/s, infer 2900.5 images/s, latency 4 ms, memory 2 GiB, params 200,000"
    )
    assert budget_words({"macs": 4 * 10**9}) == "macs 4,000,000,000"
    assert budget_words({}) == "none"
