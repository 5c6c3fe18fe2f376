"""Settings of the training of candidates: `TrainConfig` and its `Augmentation`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from metaformer.errors import FieldError
from search.settings import Count, PositiveNumber, Section, Size


def _known_optimizer(name: str) -> str:
    from search.training._optimizers import require_optimizer  # imports timm

    return require_optimizer(name)


class Augmentation(Section):
    """Random changes of an image each time it is shown; 0, and a crop of 1, switch one off.

    `shift` is at most that share of the side; `smallest_crop` the smallest share of the area that a
    crop keeps; `color` how far brightness, contrast and saturation go from 1; `erase` the share of
    images that lose a rectangle; `mixup` and `cutmix` are timm's alphas. `mirror: auto` mirrors
    if the data say that a mirrored image keeps its label.
    """

    shift: Annotated[float, Field(strict=True, ge=0, le=0.5)] = 0.125
    smallest_crop: Annotated[float, Field(strict=True, gt=0, le=1)] = 1.0
    mirror: Literal["auto", "always", "never"] = "auto"
    color: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.0
    erase: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.0
    mixup: Annotated[float, Field(strict=True, ge=0)] = 0.0
    cutmix: Annotated[float, Field(strict=True, ge=0)] = 0.0


class TrainConfig(Section):
    """The cheaper stand-in that ranks candidates.

    `optimizer` is timm's name. A warm-up that is not said takes a tenth of the epochs. `ema_decay`
    keeps a moving average of the weights, `gradient_norm` is the largest that a step may have.
    With `inherit` a candidate begins with what fits of the nearest trained one's weights.
    `trainer` names a recipe of others, which takes the place of all but `data`, `image_size`,
    `batch_size` and `epochs` as far as it likes.
    """

    data: str
    image_size: Size
    batch_size: Annotated[int, Field(strict=True, ge=2, le=1_000_000)]  # BatchNorm needs two
    epochs: Count
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    optimizer: Annotated[str, AfterValidator(_known_optimizer)] = "adamw"
    learning_rate: PositiveNumber = 2e-3
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warm_up_epochs: Annotated[float, Field(strict=True, ge=0)] | None = None
    min_learning_rate: Annotated[float, Field(strict=True, ge=0)] = 0.0
    weight_decay: Annotated[float, Field(strict=True, ge=0)] = 0.05
    label_smoothing: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.1
    gradient_norm: PositiveNumber | None = None
    ema_decay: Annotated[float, Field(strict=True, gt=0, lt=1)] | None = None
    augmentation: Augmentation = Augmentation()
    inherit: Annotated[bool, Field(strict=True)] = False
    trainer: str | None = None

    @model_validator(mode="after")
    def _schedule_fits(self) -> TrainConfig:
        if self.warm_up_epochs is not None and self.warm_up_epochs >= self.epochs:
            words = f"got {self.warm_up_epochs:g}; allowed: less than the {self.epochs} epochs"
            raise FieldError(("warm_up_epochs",), words)
        if self.min_learning_rate > self.learning_rate:
            words = f"got {self.min_learning_rate:g}; allowed: at most {self.learning_rate:g}"
            raise FieldError(("min_learning_rate",), f"{words}, the learning rate")
        return self
