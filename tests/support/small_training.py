"""A network and data so small that an epoch takes milliseconds."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from search.data import Splits, load_data
from search.data._splits import ImagesInMemory
from search.training import Score, train_and_score
from search.training.config import TrainConfig

CPU = torch.device("cpu")
EVERYTHING = {
    "shift": 0.1,
    "smallest_crop": 0.5,
    "mirror": "always",
    "color": 0.3,
    "erase": 0.3,
    "mixup": 0.2,
    "cutmix": 1.0,
}


@cache
def few_digits() -> Splits:
    """97 images to learn and 60 to select on: six batches of 16 and one of a single image."""
    digits = load_data("digits", 8)

    def first(images: Any, count: int) -> ImagesInMemory:
        return ImagesInMemory(*images.fetch(range(count)))

    return dataclasses.replace(
        digits, train=first(digits.train, 97), validation=first(digits.validation, 60)
    )


def settings(**fields: Any) -> TrainConfig:
    base = {"data": "digits", "image_size": 8, "batch_size": 16, "epochs": 3, "learning_rate": 2e-3}
    return TrainConfig.model_validate({**base, **fields})


def small_network() -> nn.Sequential:
    """Convolutions, norms of running statistics, and dropout; the same at every call."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 16, 1),
        nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


def trained(config: TrainConfig, **options: Any) -> tuple[dict[str, Tensor], Score]:
    """Weights and score after a training of the small network."""
    model = small_network()
    score = train_and_score(model, few_digits(), config, device=CPU, **{"seed": 1, **options})
    return model.state_dict(), score


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are equal bit by bit."""
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)
