"""Accuracy of a trained model; the `Diverged` error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from search.data import ImageSet
from search.training.config import TrainConfig
from search.training.preprocessing import autocast, batches, normalise, place


class Diverged(RuntimeError):
    """The training left the finite numbers, which says nothing about how good the model is.

    A model that answers alike whatever it sees, or is right by chance only, has not diverged: its
    score is bad. `epoch` and `step` of that epoch count from 1, if they are known.
    """

    def __init__(self, words: str, *, epoch: int | None = None, step: int | None = None) -> None:
        super().__init__(words)
        self.epoch = epoch
        self.step = step


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracy of a model on one split, in 0..1.

    `epochs` are those it was trained for, `by_epoch` its accuracy on the split after each of them,
    as its trainer ended them, `trainer` where that came from, None of the project's own.
    """

    metric: str
    value: float
    epochs: int
    split: str
    by_epoch: tuple[float, ...] = ()
    trainer: dict[str, str] | None = None

    def to_data(self) -> dict[str, Any]:
        """The score as a trial's record holds it."""
        return {**asdict(self), "by_epoch": list(self.by_epoch)}


def accuracy(
    model: nn.Module,
    images: ImageSet,
    config: TrainConfig,
    *,
    device: torch.device,
    check: Callable[[], None] | None = None,
) -> float:
    """Share of `images` that `model` classifies correctly, 0..1.

    Diverged if the model answers with numbers that are not finite.
    """
    model = place(model, device).eval()
    correct = total = 0
    for batch, labels in batches(images, range(len(images)), config.batch_size):
        if check is not None:
            check()
        with torch.inference_mode(), autocast(config.precision, device):
            logits = model(normalise(batch, device)).cpu()
        if not torch.isfinite(logits).all():
            raise Diverged("the trained model answers with numbers that are not finite")
        predicted = logits.argmax(dim=1)
        correct += int((predicted == labels).sum())
        total += len(labels)
    return correct / max(1, total)
