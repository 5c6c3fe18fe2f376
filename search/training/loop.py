"""The project's own recipe: epochs of timm's optimizer, schedule, mixing and moving average."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from search.data import Splits
from search.study_config import TrainConfig
from search.training.augmentation import augment
from search.training.checkpoint import CheckpointProblem, identity_of, load_state, save_state
from search.training.images import autocast, batches, normalise, place
from search.training.mixing import Mixing
from search.training.optimizers import LearningRate, make_optimizer
from search.training.score import Diverged, Score, accuracy


def train_and_score(
    model: nn.Module,
    data: Splits,
    config: TrainConfig,
    *,
    device: torch.device,
    seed: int,
    on_epoch: Callable[[int, float], None] | None = None,
    check: Callable[[], None] | None = None,
    checkpoint: Path | None = None,
    epochs: int | None = None,
) -> Score:
    """Trains `model` in place and scores it on the validation split, after each epoch.

    Order, views and dropout of an epoch follow from `seed` and its number. With `checkpoint` the
    whole state is kept in that file after each epoch, and a training that finds the file goes on
    from it; on a CPU with one thread the weights are then those of a training that never stopped.
    `epochs` ends the training after so many of `config.epochs`, on the schedule of all of them.
    Where a moving average is kept, it is what is scored and what `model` holds at the end.

    `on_epoch` hears the epoch and its mean loss; `check` is called before each batch and may raise
    to stop. Diverged where loss or answers are no numbers; CheckpointProblem where the file is
    damaged, of another training or further than `epochs`.
    """
    last = config.epochs if epochs is None else epochs
    if not 1 <= last <= config.epochs:
        raise ValueError(f"epochs: got {last}; allowed: 1 to {config.epochs}")
    training = _Training(place(model, device), data, config, device, seed)
    identity = identity_of(model, data, config, seed)
    if checkpoint is not None:
        state = load_state(checkpoint, identity, device)
        if state is not None:
            training.restore(state)
        if len(training.by_epoch) > last:
            words = f"is after epoch {len(training.by_epoch)}, and {last} were asked for"
            raise CheckpointProblem(f"{checkpoint}: the checkpoint {words}")
    for epoch in range(len(training.by_epoch), last):
        loss = training.run_epoch(epoch, check)
        if checkpoint is not None:
            save_state(checkpoint, training.state(), identity)
        if on_epoch is not None:
            on_epoch(epoch + 1, loss)
    training.keep_scored()
    return Score("accuracy", training.by_epoch[-1], last, "validation", tuple(training.by_epoch))


class _Training:
    """A training between two epochs; `by_epoch` are the validation accuracies so far."""

    def __init__(
        self,
        model: nn.Module,
        data: Splits,
        config: TrainConfig,
        device: torch.device,
        seed: int,
    ) -> None:
        self.model, self.data, self.config, self.device = model, data, config, device
        self.seed = seed
        self.by_epoch: list[float] = []
        self.optimizer = make_optimizer(model, config)
        self.steps_per_epoch = math.ceil(len(data.train) / config.batch_size)
        self.learning_rate = LearningRate(self.optimizer, config, self.steps_per_epoch)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.mixing = Mixing.of(config, data.num_classes)
        self.ema: ModelEmaV3 | None = None
        if config.ema_decay is not None:
            self.ema = ModelEmaV3(model, decay=config.ema_decay, use_warmup=True)

    def run_epoch(self, epoch: int, check: Callable[[], None] | None) -> float:
        """Trains epoch number `epoch`, from 0, and scores; the mean loss."""
        generator = torch.Generator().manual_seed(_seed_of(self.seed, epoch, "images"))
        torch.manual_seed(_seed_of(self.seed, epoch, "model"))
        order = torch.randperm(len(self.data.train), generator=generator).tolist()
        self.model.train()
        losses: list[float] = []
        read = batches(self.data.train, order, self.config.batch_size)
        for step, (images, labels) in enumerate(read):
            if check is not None:
                check()
            if len(labels) < 2:  # BatchNorm needs two
                continue
            loss = self._step(epoch * self.steps_per_epoch + step, images, labels, generator)
            losses.append(loss)
            if not math.isfinite(loss):
                place = f"epoch {epoch + 1}, step {step + 1} of {self.steps_per_epoch}"
                words = f"the loss became {loss} in {place}"
                raise Diverged(words, epoch=epoch + 1, step=step + 1)
        self.by_epoch.append(self._score(epoch, check))
        return sum(losses) / max(1, len(losses))

    def _step(self, step: int, images: Tensor, labels: Tensor, generator: torch.Generator) -> float:
        """One step of the optimizer, none where the loss is no number; the loss."""
        config = self.config
        self.learning_rate.set(step)
        images = augment(images, config.augmentation, mirror=self.data.mirror, generator=generator)
        smoothing = config.label_smoothing
        if self.mixing is not None:
            images, labels = self.mixing(images, labels, generator)
            smoothing = 0.0  # is in the shares already
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

    def _score(self, epoch: int, check: Callable[[], None] | None) -> float:
        scored = self.model if self.ema is None else self.ema.module
        try:
            return accuracy(
                scored, self.data.validation, self.config, device=self.device, check=check
            )
        except Diverged as error:
            raise Diverged(f"{error}, after epoch {epoch + 1}", epoch=epoch + 1) from None

    def keep_scored(self) -> None:
        """Makes the model's weights those that were scored."""
        if self.ema is not None:
            self.model.load_state_dict(self.ema.module.state_dict())

    def state(self) -> dict[str, Any]:
        """All that later epochs follow from, beside settings, seed and data."""
        return {
            "by_epoch": self.by_epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from what `state` said."""
        self.by_epoch = list(state["by_epoch"])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])


def _seed_of(seed: int, epoch: int, use: str) -> int:
    """A seed of its own for each use in each epoch, far from those of other seeds and epochs."""
    digest = hashlib.sha256(f"{seed}/{epoch}/{use}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1  # torch takes 63 bits
