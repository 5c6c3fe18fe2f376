"""Rounds over rows: what counts, what is taken again, what is left out."""

from __future__ import annotations

import time

import pytest
import torch
from study_measuring import PROCESS, TRIES, WALL, Row, Study
from study_tables import tables

from search.throughput import MeasurementProtocol
from search.throughput.sensors import Reading
from search.throughput.timing import Block, Stopwatch


class OneStepASecond:
    """A stopwatch whose blocks take so long on the wall, and a second of CPU time."""

    def __init__(self, *wall_seconds: float) -> None:
        self.wall_seconds = list(wall_seconds)

    def block(self, _step: object, steps: int) -> Block:
        before, after = Reading(busy_seconds=0.0), Reading(busy_seconds=1.0)
        wall = self.wall_seconds.pop(0)
        return Block(steps, wall, 0.0, None, before, after)


def visited(clock: str, *wall_seconds: float) -> Row:
    row = Row("a", step=lambda: None, steps=1, step_seconds=1.0)
    row.visit(OneStepASecond(*wall_seconds), clock)  # type: ignore[arg-type]
    return row


def test_a_block_that_others_spoilt_is_taken_again() -> None:
    row = visited(WALL, 2.0, 1.0)
    assert row.seconds == [1.0]
    assert row.discarded == {"others had the processor": 1}


def test_a_round_without_a_valid_block_is_a_gap_and_its_time_is_kept_apart() -> None:
    row = visited(WALL, *[2.0] * TRIES)
    assert row.seconds == [None]
    assert row.valid == []
    assert row.contaminated_seconds == [2.0]


def test_the_process_clock_counts_only_what_this_process_computed() -> None:
    assert visited(PROCESS, 2.0).seconds == [1.0]


def protocol(**more: object) -> MeasurementProtocol:
    return MeasurementProtocol(mode="infer", batch_size=1, image_size=32, **more)  # type: ignore[arg-type]


def test_a_condition_has_every_row_in_every_round() -> None:
    study = Study(torch.device("cpu"), time.monotonic() + 600, rounds=2)
    found = study.measure(["resnet50", "inceptionnext_t"], protocol())
    assert found is not None
    assert [row["name"] for row in found["rows"]] == ["resnet50", "inceptionnext_t"]
    assert all(len(row["block_seconds"]) == row["rounds"] == 2 for row in found["rows"])
    assert sum(found["orders"].values()) == 1
    assert "resnet50" in tables({"conditions": [found], "left_out": ["this"]})


def test_what_time_did_not_allow_is_named() -> None:
    study = Study(torch.device("cpu"), time.monotonic() - 1, rounds=2)
    assert study.measure(["resnet50", "inceptionnext_t"], protocol()) is None
    assert any("resnet50, no time" in words for words in study.left_out)
    assert any("the whole condition" in words for words in study.left_out)


def test_time_for_the_rounds_is_kept_before_another_row_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Stopwatch, "warm_up", lambda _self, _step: (100.0, 500.0))
    warm: list[Row] = []
    monkeypatch.setattr(Study, "_rounds", lambda _self, rows, _protocol: warm.extend(rows))
    study = Study(torch.device("cpu"), time.monotonic() + 6000, rounds=12)
    study.measure(["resnet50"] * 6, protocol())
    # 1200 s of rounds for each row that is warm and 500 s to warm another: a sixth needs 6500 s
    assert len(warm) == 5


def test_a_row_that_raises_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def warm_up(_self: Stopwatch, step: object) -> tuple[float, float]:
        if not first:
            first.append(step)
            raise RuntimeError("does not compile\nand much more")
        return 0.1, 0.1

    first: list[object] = []
    monkeypatch.setattr(Stopwatch, "warm_up", warm_up)
    study = Study(torch.device("cpu"), time.monotonic() + 600, rounds=2)
    found = study.measure(["resnet50", "inceptionnext_t", "convnext_t"], protocol())
    assert found is not None
    assert len(found["rows"]) == 2
    words = "infer, auto, eager: resnet50, RuntimeError: does not compile"
    assert study.left_out == [words]
