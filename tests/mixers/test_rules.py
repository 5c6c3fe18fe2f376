from __future__ import annotations

from typing import Any

import pytest

from mixers import FloatRange, IntRange
from mixers._rules import narrowed

WHOLE = IntRange(1, 64, log=True)
REAL = FloatRange(0.25, 2.0)
GRID = FloatRange(0.0, 1.0, step=0.25)


@pytest.mark.parametrize(
    ("domain", "said", "words"),
    [
        (WHOLE, {"log": "no"}, "log: got 'no'; allowed: true, false"),
        (REAL, {"log": 1}, "log: got 1; allowed: true, false"),
        (WHOLE, {"low": True}, "low: got True"),
        (REAL, {"high": "2"}, "high: got '2'"),
        (WHOLE, {"low": 2, "high": 9, "step": 2}, "step: got 2"),
        (WHOLE, {"step": 1.5}, "step: got 1.5"),
        (REAL, {"step": 0.4}, "step: got 0.4"),
        (REAL, {"step": "wide"}, "step: got 'wide'"),
        (REAL, {"step": -0.25}, "step: got -0.25"),
        (REAL, {"step": float("nan")}, "step: got nan"),
        (GRID, {"step": 0.2}, "step: got 0.2"),
        (GRID, {"low": 0.1}, "got 0.1"),
    ],
)
def test_what_is_no_part_of_a_range_is_refused(
    domain: IntRange | FloatRange, said: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        narrowed(domain, said)


def test_parts_of_a_range_are_taken() -> None:
    assert narrowed(WHOLE, {"low": 2, "high": 8, "log": False}) == IntRange(2, 8)
    assert narrowed(IntRange(0, 12, 2), {"high": 8, "step": 4}) == IntRange(0, 8, 4)
    assert narrowed(REAL, {"step": 0.25}) == FloatRange(0.25, 2.0, 0.25)
    assert narrowed(GRID, {"low": 0.5}) == FloatRange(0.5, 1.0, 0.25)
