"""The project's own recipe: timm's optimizer, schedule, mixing and moving average."""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from search.data import Splits
from search.training._augmentation import augment
from search.training._context import TrainingContext
from search.training._mixup import Mixing
from search.training._optimizers import LearningRate, make_optimizer
from search.training.config import TrainConfig
from search.training.preprocessing import autocast, batches, normalise
from search.training.scoring import Diverged


def train(model: nn.Module, data: Splits, config: TrainConfig, context: TrainingContext) -> None:
    """Trains by what the study file says under `train`.

    Order, views and dropout of an epoch follow from the seed and its number, and the checkpoint has
    the rest: on a CPU with one thread a training that was stopped ends with the weights of one that
    was not. Where a moving average is kept, it is what is scored and what `model` holds at the end.
    Diverged, with epoch and step, if the loss is no number.
    """
    training = _Training(model, data, config, context)
    if context.restored is not None:
        training.restore(context.restored)
    for epoch in context.epochs_left():
        loss = training.run_epoch(epoch)
        context.end_epoch(training.scored, loss, training.state())
    model.load_state_dict(training.scored.state_dict())


class _Training:
    """A training between two epochs."""

    def __init__(
        self, model: nn.Module, data: Splits, config: TrainConfig, context: TrainingContext
    ) -> None:
        self.model, self.data, self.config, self.context = model, data, config, context
        self.device = context.device
        self.optimizer = make_optimizer(model, config)
        self.steps_per_epoch = math.ceil(len(data.train) / config.batch_size)
        self.learning_rate = LearningRate(self.optimizer, config, self.steps_per_epoch)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")
        self.mixing = Mixing.of(config, data.num_classes)
        self.ema: ModelEmaV3 | None = None
        if config.ema_decay is not None:
            self.ema = ModelEmaV3(model, decay=config.ema_decay, use_warmup=True)

    @property
    def scored(self) -> nn.Module:
        return self.model if self.ema is None else self.ema.module

    def run_epoch(self, epoch: int) -> float:
        """Trains epoch number `epoch`, from 0; the mean loss."""
        generator = torch.Generator().manual_seed(self.context.seed_of(epoch, "images"))
        torch.manual_seed(self.context.seed_of(epoch, "model"))
        order = torch.randperm(len(self.data.train), generator=generator).tolist()
        self.model.train()
        losses: list[float] = []
        read = batches(self.data.train, order, self.config.batch_size)
        for step, (images, labels) in enumerate(read):
            self.context.check()
            if len(labels) < 2:  # BatchNorm needs two
                continue
            loss = self._step(epoch * self.steps_per_epoch + step, images, labels, generator)
            losses.append(loss)
            if not math.isfinite(loss):
                place = f"epoch {epoch + 1}, step {step + 1} of {self.steps_per_epoch}"
                words = f"the loss became {loss} in {place}"
                raise Diverged(words, epoch=epoch + 1, step=step + 1)
        return sum(losses) / max(1, len(losses))

    def _step(self, step: int, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
        """One step of the optimizer, none if the loss is no number; the loss."""
        config = self.config
        self.learning_rate.set(step)
        images = augment(images, config.augmentation, mirror=self.data.mirror, generator=generator)
        smoothing = config.label_smoothing
        if self.mixing is not None:
            images, labels = self.mixing(images, labels, generator)
            smoothing = 0.0  # is in the labels' shares already
        with autocast(config.precision, self.device):
            logits = self.model(normalise(images, self.device))
            loss = F.cross_entropy(logits, labels.to(self.device), label_smoothing=smoothing)
        value = float(loss.item())
        if not math.isfinite(value):
            return value
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if config.gradient_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema is not None:
            self.ema.update(self.model, step=step + 1)
        return value

    def state(self) -> dict[str, Any]:
        """All that later epochs follow from, next to settings, seed and data."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` said."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
