"""Estimate of the seconds of a training, from its first steps on the real data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import nn

from search.data import Splits
from search.errors import Interrupted
from search.training._train import train_and_score
from search.training._trainers import TrainerEntry
from search.training.config import TrainConfig
from search.training.scoring import accuracy

WARM_UP_STEPS = 1  # not timed, if there are enough of them
TIMED_STEPS = 5


class _Enough(Interrupted):
    """So many steps have been timed."""


def seconds_of_training(
    model: nn.Module,
    data: Splits,
    config: TrainConfig,
    *,
    device: torch.device,
    seed: int,
    check: Callable[[], None],
    trainer: TrainerEntry | None = None,
    now: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of a whole training and its scoring, scaled from some steps of each; `model` is
    trained by those. A trainer of others is timed by its calls of `context.check`.
    """
    steps = math.ceil(len(data.train) / config.batch_size)
    looks = math.ceil(len(data.validation) / config.batch_size)

    def train(tick: Callable[[], None]) -> None:
        train_and_score(model, data, config, device=device, seed=seed, check=tick, trainer=trainer)

    def score(tick: Callable[[], None]) -> None:
        accuracy(model, data.validation, config, device=device, check=tick)

    step, all_of_it = _seconds_of_one(train, steps, device, check, now)
    if all_of_it is not None:
        return all_of_it
    look, _ = _seconds_of_one(score, looks, device, check, now)
    at_the_end = 0.0 if trainer is None else looks * look
    return config.epochs * (steps * step + looks * look) + at_the_end


def _seconds_of_one(
    work: Callable[[Callable[[], None]], None],
    steps: int,
    device: torch.device,
    check: Callable[[], None],
    now: Callable[[], float],
) -> tuple[float, float | None]:
    """Seconds of one of the `steps` of `work`, which is stopped then; those of all of it, if it
    ended before that."""
    ticks: list[float] = []
    last = max(1, min(WARM_UP_STEPS + TIMED_STEPS, steps - 1))
    first = WARM_UP_STEPS if last > WARM_UP_STEPS else 0

    def tick() -> None:
        check()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        ticks.append(now())
        if len(ticks) > last:
            raise _Enough

    begun = now()
    try:
        work(tick)
    except _Enough:
        return (ticks[last] - ticks[first]) / (last - first), None
    whole = now() - begun
    return whole / steps, whole
