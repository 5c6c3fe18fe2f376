from __future__ import annotations

import json
from typing import Any

import pytest
from torch import nn

from search.cli.breakdown_table import OTHER, breakdown_lines, print_breakdown
from search.profiling.breakdown import breakdown
from search.profiling.roofline import Rates
from search.throughput import MeasurementProtocol


def part(name: str, depth: int, seconds: float, **others: Any) -> dict[str, Any]:
    return {
        "name": name,
        "depth": depth,
        "seconds": seconds,
        "share": seconds / 0.1,
        "params": 1000,
        "macs": 2_000_000,
        "macs_per_second": 2e6 / seconds,
        "arithmetic_floor_seconds": 0.001,
        "bandwidth_floor_seconds": 0.0005,
        **others,
    }


NOTHING = dict.fromkeys(
    (
        "params",
        "macs",
        "macs_per_second",
        "arithmetic_floor_seconds",
        "bandwidth_floor_seconds",
    )
)
DATA: dict[str, Any] = {
    "step_seconds": 0.098,
    "watched_step_seconds": 0.1,
    "steps": 20,
    "parts": [
        part("stem", 0, 0.01),
        part("stages.0", 0, 0.06, params=5000),
        part("a conv", 1, 0.02),
        part("b conv", 1, 0.01),
        part("c conv", 1, 0.012),
        part("d conv", 1, 0.008),
        part("head", 0, 0.02),
        part("rest", 0, 0.01, **NOTHING),
    ],
}


def test_parts_stand_in_the_models_order_and_inner_ones_are_indented() -> None:
    lines = breakdown_lines(DATA)
    names = [line.split("  ")[0] or line.strip().split("  ")[0] for line in lines[:10]]
    assert names == [
        *("part", "stem", "stages.0", "a conv", "b conv", "c conv", "d conv"),
        *(OTHER, "head", "rest"),
    ]
    assert lines[3].startswith("  a conv")
    assert lines[1].split() == [
        "stem",
        "10.00",
        "10.0",
        "1,000",
        "2.0",
        "0.2",
        "1.00",
        "1.00",
        "0.50",
    ]
    assert lines[9].split() == ["rest", "10.00", "10.0"]


def test_what_is_in_no_inner_part_has_a_row_behind_them() -> None:
    row = next(line for line in breakdown_lines(DATA) if OTHER in line)
    assert row.split(OTHER)[1].split() == ["10.00", "10.0", "1,000"]


def test_the_three_longest_mixers_come_last() -> None:
    lines = breakdown_lines(DATA, ["a conv", "b conv", "c conv", "d conv"])
    assert lines[-4] == "mixers take 50.0% of the step; the longest:"
    assert [line.split(":")[0].strip() for line in lines[-3:]] == ["a conv", "c conv", "b conv"]
    assert lines[-3] == "  a conv: 20.00 ms, 20.0%, 20 times its floor"
    assert "mixers" not in "".join(breakdown_lines(DATA))


def test_what_watching_costs_is_stated() -> None:
    assert "98.00 ms, 100.00 ms while it is watched (+2.0%); medians of 20 steps" in "\n".join(
        breakdown_lines(DATA)
    )


def test_columns_are_aligned() -> None:
    lines = [
        line for line in breakdown_lines(DATA)[:10] if "rest" not in line and OTHER not in line
    ]
    assert len({len(line) for line in lines}) == 1


def test_a_real_breakdown_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(6), nn.Flatten())
    rates = Rates(macs_per_second=1e9, bytes_per_second=1e9)
    protocol = MeasurementProtocol(batch_size=2, image_size=8)
    found = breakdown(model, protocol, parts={"conv": model[0]}, rates=rates)
    data = json.loads(json.dumps(found.to_data()))
    print_breakdown(data, ["conv"])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed[:4]] == ["part", "conv", "optimizer", "rest"]
    assert printed[-1].startswith("  conv: ")
