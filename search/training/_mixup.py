"""Mixup and CutMix by timm, whose randomness is numpy's global one: seeded here, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from timm.data import Mixup
from torch import Tensor

from search.training.config import TrainConfig


class Mixing:
    """Mixes the images of a batch in pairs, and their labels, as `config` says."""

    def __init__(self, config: TrainConfig, num_classes: int) -> None:
        self._mixup = Mixup(
            mixup_alpha=config.augmentation.mixup,
            cutmix_alpha=config.augmentation.cutmix,
            label_smoothing=config.label_smoothing,
            num_classes=num_classes,
        )

    @classmethod
    def of(cls, config: TrainConfig, num_classes: int) -> Mixing | None:
        """None if nothing is mixed."""
        mixes = config.augmentation.mixup > 0 or config.augmentation.cutmix > 0
        return cls(config, num_classes) if mixes else None

    def __call__(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(N, 3, S, S) float images and (N,) labels to images and (N, classes) shares of labels,
        smoothed; an odd batch loses its last image, as timm mixes pairs."""
        even = len(labels) // 2 * 2
        seed = int(torch.randint(2**32, (1,), generator=generator))
        with _numpy_seeded(seed):
            mixed, shares = self._mixup(images[:even].clone(), labels[:even])
        return mixed, shares


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
