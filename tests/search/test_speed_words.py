from __future__ import annotations

import pytest

from search.speed_words import interval, speed


@pytest.mark.parametrize(
    ("mode", "words"),
    [("train", "200 images/s [160, 250]"), ("latency", "5 ms [4, 6.25]")],
)
def test_a_latency_is_told_in_milliseconds_and_its_lower_end_comes_first(
    mode: str, words: str
) -> None:
    measured = {"mode": mode, "images_per_second": 200.0, "low": 160.0, "high": 250.0}
    assert f"{speed(measured)} {interval(measured)}" == words
