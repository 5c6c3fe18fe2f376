"""Several processes as one: only what all of them tell is told."""

from __future__ import annotations

from typing import Any

import pytest
from study_join import join
from study_orders import published_speed
from study_tables import tables

FAST, SLOW = "inceptionnext_t", "convnext_t"  # as published
Condition = dict[str, Any]


def run(speeds: dict[str, float], **more: Any) -> dict[str, Any]:
    """A process in which every row ran at that many images/s in all of its rounds."""
    rows = [
        {
            "name": name,
            "published": published_speed(name, "infer"),
            "images_per_second": speed,
            "low": 0.9 * speed,
            "high": 1.1 * speed,
            "block_seconds": [1 / speed] * 15,
        }
        for name, speed in speeds.items()
    ]
    sizes = {"batch_size": 1, "image_size": 224, "precision": "fp32", "clock": "wall"}
    condition = {"mode": "infer", "memory_format": "contiguous", "compile": False, **sizes}
    condition |= {"foreign_cpus": 0.0, "rows": rows, "reversed": ["follows"], **more}
    return {"conditions": [condition], "left_out": ["this"]}


def joined(*runs: dict[str, Any]) -> Condition:
    [condition] = join(runs)["conditions"]
    return condition


@pytest.mark.parametrize(
    ("speed", "orders", "contradicted"),
    [
        (1.5, {"held": 1, "reversed": 0, "not told": 0}, []),
        (0.5, {"held": 0, "reversed": 0, "not told": 1}, [f"{FAST} / {SLOW}"]),
    ],
)
def test_an_order_holds_only_where_every_process_says_so(
    speed: float, orders: dict[str, int], contradicted: list[str]
) -> None:
    found = joined(run({FAST: 1.2, SLOW: 1.0}), run({FAST: speed, SLOW: 1.0}))
    assert found["orders"] | orders == found["orders"]
    assert found["contradicted"] == contradicted


def test_the_widest_interval_of_all_processes_is_given() -> None:
    found = joined(run({FAST: 1.2, SLOW: 1.0}), run({FAST: 1.5, SLOW: 1.0}))
    [headline] = found["headlines"]
    ratio = headline["ratio"]
    assert (ratio["low"], ratio["high"], ratio["rounds"]) == pytest.approx((1.2, 1.5, 30))
    [fast, _] = found["rows"]
    assert (fast["low"], fast["high"]) == pytest.approx((0.9 * 1.2, 1.1 * 1.5))


def test_a_row_that_one_process_lacks_tells_nothing() -> None:
    found = joined(run({FAST: 1.2, SLOW: 1.0}), run({FAST: 1.2, "resnet50": 1.3}))
    assert found["orders"]["not told"] == 2
    assert found["orders"]["held"] == 0


def test_a_headline_keeps_its_direction() -> None:
    [headline] = joined(run({FAST: 1.0, "resnet50": 2.0}))["headlines"]
    assert (headline["first"], headline["second"]) == (FAST, "resnet50")
    assert headline["ratio"]["value"] == pytest.approx(0.5)
    assert headline["order"] == "held"


def test_what_was_measured_stays_in_the_file_and_what_was_left_out_is_named_once() -> None:
    runs = [run({FAST: 1.2, SLOW: 1.0}), run({FAST: 1.3, SLOW: 1.0})]
    result = join(runs)
    assert [len(one["conditions"][0]["rows"]) for one in result["runs"]] == [2, 2]
    assert "reversed" not in result["runs"][0]["conditions"][0]
    assert result["left_out"] == ["this"]
    assert FAST in tables(result)
