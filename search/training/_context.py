"""Interface of trainers, and the context that a trainer is given."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from search.data import Splits
from search.training._checkpoint import CheckpointProblem, load_state, save_state
from search.training.config import TrainConfig
from search.training.scoring import Diverged, accuracy


@dataclass(kw_only=True)
class TrainingContext:
    """One training as the search asks for it.

    `epochs` is where it ends this time, at most `config.epochs`. `by_epoch` are the validation
    accuracies after each epoch so far, `restored` what the last `end_epoch` was given as state,
    if the training resumes from a checkpoint. `check` is to be called before each step and may
    raise to stop.
    """

    data: Splits
    config: TrainConfig
    device: torch.device
    seed: int
    epochs: int
    check: Callable[[], None]
    on_epoch: Callable[[int, float], None]
    note: Callable[[str], None]
    checkpoint: Path | None
    identity: str
    restored: dict[str, Any] | None = None
    by_epoch: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """CheckpointProblem if the file is damaged, of another training, or too far."""
        if self.checkpoint is None:
            return
        kept = load_state(self.checkpoint, self.identity, self.device)
        if kept is None:
            return
        self.by_epoch, self.restored = list(kept["by_epoch"]), kept["state"]
        if len(self.by_epoch) > self.epochs:
            words = f"is after epoch {len(self.by_epoch)}, and {self.epochs} were asked for"
            raise CheckpointProblem(f"{self.checkpoint}: the checkpoint {words}")

    def epochs_left(self) -> range:
        """Numbers, from 0, of the epochs to be trained now; none if all have been."""
        return range(len(self.by_epoch), self.epochs)

    def seed_of(self, epoch: int, use: str) -> int:
        """A seed of its own for each use in each epoch, of 63 bits."""
        digest = hashlib.sha256(f"{self.seed}/{epoch}/{use}".encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    def end_epoch(self, model: nn.Module, loss: float, state: dict[str, Any]) -> None:
        """Scores `model` on the validation split, and keeps `state`, of tensors and plain values,
        so that the training can continue from here; `loss` is the epoch's mean.

        Diverged if the loss or the model's answers are no numbers.
        """
        epoch = len(self.by_epoch) + 1
        if not math.isfinite(loss):
            raise Diverged(f"the mean loss of epoch {epoch} is {loss}", epoch=epoch)
        try:
            value = accuracy(
                model, self.data.validation, self.config, device=self.device, check=self.check
            )
        except Diverged as error:
            raise Diverged(f"{error}, after epoch {epoch}", epoch=epoch) from None
        self.by_epoch.append(value)
        self._keep(state)
        self.on_epoch(epoch, loss)

    def _keep(self, state: dict[str, Any]) -> None:
        if self.checkpoint is None:
            return
        kept = {"by_epoch": self.by_epoch, "state": state}
        try:
            save_state(self.checkpoint, kept, self.identity)
        except OSError as error:  # the training is worth more than its checkpoint
            self.note(f"{self.checkpoint}: no checkpoint kept: {error.strerror or error}")


class Trainer(Protocol):
    """Trains `model` in place, through all of `context.epochs_left()`.

    Each epoch ends with `context.end_epoch`. Where `context.restored` is not None it is taken over
    first. What `model` holds at the end is scored and kept.
    """

    def __call__(
        self, model: nn.Module, data: Splits, config: TrainConfig, context: TrainingContext, /
    ) -> None: ...
