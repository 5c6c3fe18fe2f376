"""timm's optimizers and learning-rate schedules, under the names of a study file."""

from __future__ import annotations

from functools import cache

import torch
from timm.optim import create_optimizer_v2, list_optimizers
from timm.scheduler import CosineLRScheduler, PolyLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import nn

from mixers.errors import nearest
from search.training.config import TrainConfig

_FOREIGN = ("fused*", "bnb*")  # need apex or bitsandbytes
_SECOND_ORDER = ("adahessian",)  # need derivatives of gradients, which a step here does not keep
_WARM_UP_SHARE = 0.1  # of the epochs, if the study does not say
_FIRST_SHARE = 0.01  # of the learning rate, at the first step of a warm-up


@cache
def optimizer_names() -> tuple[str, ...]:
    """timm's optimizers of first order that need no further package, sorted."""
    return tuple(list_optimizers(exclude_filters=[*_FOREIGN, *_SECOND_ORDER]))


def require_optimizer(name: str) -> str:
    """`name`; ValueError, with the nearest one, if it is no optimizer that can be used here."""
    known = optimizer_names()
    if name not in known:
        if name in _SECOND_ORDER:
            why = "it needs derivatives of gradients"
        elif name in list_optimizers(filter=list(_FOREIGN)):
            why = "it needs a package that is no part of this project"
        else:
            why = "timm has no such optimizer"
        near = nearest(name, known, count=3)
        raise ValueError(f"got {name}: {why}; allowed: {', '.join(known)}{near}")
    return name


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """timm's optimizer, without decay on biases, norms, layer scales and whatever else the model
    exempts; momentum 0.9 if the optimizer has one."""
    return create_optimizer_v2(
        model, opt=config.optimizer, lr=config.learning_rate, weight_decay=config.weight_decay
    )


class LearningRate:
    """The learning rate of each step of the whole training, `config.epochs` long, by timm.

    A linear warm-up from a hundredth of the peak, then the decay of `config.schedule` over what is
    left. It follows from the step alone: a training that stops early, as a rung of successive
    halving does, has gone a part of the same way, and one that continues needs no state of it.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, config: TrainConfig, steps_per_epoch: int
    ) -> None:
        self._scheduler = _scheduler(optimizer, config, steps_per_epoch)

    def set(self, step: int) -> None:
        """Makes the optimizer's learning rate that of `step`, counted from 0."""
        self._scheduler.step_update(step)


def _scheduler(
    optimizer: torch.optim.Optimizer, config: TrainConfig, steps_per_epoch: int
) -> Scheduler:
    warm_up_epochs = config.warm_up_epochs
    if warm_up_epochs is None:
        warm_up_epochs = _WARM_UP_SHARE * config.epochs
    warm_up = warm_up_epochs * steps_per_epoch
    arguments = {
        "t_initial": config.epochs * steps_per_epoch - warm_up,
        "lr_min": config.min_learning_rate,
        "warmup_t": warm_up,
        "warmup_lr_init": _FIRST_SHARE * config.learning_rate,
        "warmup_prefix": True,
        "t_in_epochs": False,
    }
    if config.schedule == "linear":
        return PolyLRScheduler(optimizer, power=1.0, **arguments)
    if config.schedule == "constant":
        arguments["lr_min"] = config.learning_rate
    return CosineLRScheduler(optimizer, **arguments)
