"""The time of a training from its first steps, on a clock that ticks with every look at it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from tiny import STUDY, write_study
from torch import nn

from search.config.load import load_study
from search.data import Splits
from search.errors import Interrupted
from search.training import seconds_of_training
from search.training._time_estimate import TIMED_STEPS, WARM_UP_STEPS


def estimate(digits: Splits, *, check: Any = lambda: None, **train: Any) -> float:
    clock = itertools.count()
    return seconds_of_training(
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10)),
        digits,
        load_study(write_study(STUDY), {"train": train}, device="cpu").config.train,
        device=torch.device("cpu"),
        seed=0,
        check=check,
        now=lambda: float(next(clock)),
    )


@pytest.mark.parametrize(("batch_size", "epochs"), [(16, 4), (256, 3), (512, 1), (4096, 2)])
def test_steps_and_scoring_are_scaled_to_all_epochs(
    digits: Splits, batch_size: int, epochs: int
) -> None:
    steps = math.ceil(len(digits.train) / batch_size)
    looks = math.ceil(len(digits.validation) / batch_size)
    look = 2 if looks == 1 else 1  # a single one is timed from before it to behind it
    found = estimate(digits, batch_size=batch_size, epochs=epochs)
    assert found == epochs * (steps + looks * look)


def test_only_some_steps_are_run(digits: Splits) -> None:
    asked: list[int] = []
    estimate(digits, check=lambda: asked.append(1), batch_size=16, epochs=50)
    assert len(asked) == 2 * (WARM_UP_STEPS + TIMED_STEPS + 1)


def test_it_can_be_stopped(digits: Splits) -> None:
    def stop() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        estimate(digits, check=stop)
