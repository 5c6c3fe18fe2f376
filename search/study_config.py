"""A study as data: its budget, what is measured, what is trained, how it is searched, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from metaformer.errors import FieldError
from metaformer.spec import SchemaVersion
from metaformer.yaml_tree import Node
from search.objective import Front, checked_objective
from search.speed_words import MODES
from search.study_path import require_legal_name

_Size = Annotated[int, Field(strict=True, ge=4, le=8192)]
_Batch = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
_Positive = Annotated[float, Field(strict=True, gt=0)]
_Count = Annotated[int, Field(strict=True, ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Budget(_Section):
    """Hard limits: images per second at least; `latency` (milliseconds that one image takes),
    `memory` (GiB, at the peak of a measured step), `params` and `macs` (for one image) at most."""

    train: _Positive | None = None
    infer: _Positive | None = None
    latency: _Positive | None = None
    memory: _Positive | None = None
    params: _Count | None = None
    macs: _Count | None = None

    def given(self) -> dict[str, float]:
        """The limits that there are, by name."""
        return self.model_dump(exclude_none=True)

    @property
    def throughput(self) -> dict[str, float]:
        """Images per second by mode, for the modes that are budgeted."""
        both = {"train": self.train, "infer": self.infer}
        return {mode: value for mode, value in both.items() if value is not None}

    @property
    def speeds(self) -> dict[str, float]:
        """The same with the latency, as the images per second that it comes to."""
        return self.throughput | ({"latency": 1000 / self.latency} if self.latency else {})


class MeasureConfig(_Section):
    """The model as it will be deployed.

    `device` is cpu, cuda or cuda:N once resolved; `threads` are torch's, on a CPU.
    """

    device: str = "cpu"
    threads: Annotated[int, Field(strict=True, ge=1, le=1024)] = 1
    image_size: _Size
    batch_size: _Batch
    precision: Literal["fp32", "tf32", "bf16", "fp16"]
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    compile: Annotated[bool, Field(strict=True)] = False
    optimizer: Literal["adamw", "sgd"] = "adamw"

    @model_validator(mode="after")
    def _precision_is_the_devices(self) -> MeasureConfig:
        if not self.device.startswith("cuda") and self.precision in ("tf32", "fp16"):
            words = f"got {self.precision} on a CPU; allowed: fp32, bf16"
            raise FieldError(("precision",), words)
        return self


def _known_optimizer(name: str) -> str:
    from search.training.optimizers import require_optimizer  # imports timm, and this module

    return require_optimizer(name)


class Augmentation(_Section):
    """How an image is changed whenever it is shown; 0, and a crop of 1, are off.

    `shift` is at most that share of the side; `smallest_crop` the smallest share of the area that a
    crop keeps; `color` how far brightness, contrast and saturation go from 1; `erase` the share of
    images that lose a rectangle; `mixup` and `cutmix` are timm's alphas. `mirror: auto` mirrors
    where the data say that a mirrored image keeps its label.
    """

    shift: Annotated[float, Field(strict=True, ge=0, le=0.5)] = 0.125
    smallest_crop: Annotated[float, Field(strict=True, gt=0, le=1)] = 1.0
    mirror: Literal["auto", "always", "never"] = "auto"
    color: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.0
    erase: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.0
    mixup: Annotated[float, Field(strict=True, ge=0)] = 0.0
    cutmix: Annotated[float, Field(strict=True, ge=0)] = 0.0


class TrainConfig(_Section):
    """The cheaper stand-in that ranks candidates.

    `optimizer` is timm's name. A warm-up that is not said takes a tenth of the epochs. `ema_decay`
    keeps a moving average of the weights, `gradient_norm` is the largest that a step may have.
    With `inherit` a candidate begins with what fits of the nearest trained one's weights.
    `trainer` names a recipe of others, which takes the place of all but `data`, `image_size`,
    `batch_size` and `epochs` as far as it likes.
    """

    data: str
    image_size: _Size
    batch_size: Annotated[int, Field(strict=True, ge=2, le=1_000_000)]  # BatchNorm needs two
    epochs: _Count
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    optimizer: Annotated[str, AfterValidator(_known_optimizer)] = "adamw"
    learning_rate: _Positive = 2e-3
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warm_up_epochs: Annotated[float, Field(strict=True, ge=0)] | None = None
    min_learning_rate: Annotated[float, Field(strict=True, ge=0)] = 0.0
    weight_decay: Annotated[float, Field(strict=True, ge=0)] = 0.05
    label_smoothing: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.1
    gradient_norm: _Positive | None = None
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


class SearchConfig(_Section):
    """`trials` is the study's total, not how many more. A trial that takes longer than
    `trial_seconds` is ended; by default none is. `objective` is accuracy, or a front. `halving` has
    candidates train for a part of the epochs at first, and one in so many go on. `baselines` are
    measured and trained as candidates are, for comparison: YAML files, known backbones, timm:NAME,
    torchvision:NAME."""

    trials: _Count
    halving: Annotated[int, Field(strict=True, ge=2, le=10)] | None = None
    trial_seconds: _Positive | None = None
    objective: Annotated[Literal["accuracy"] | Front, BeforeValidator(checked_objective)] = (
        "accuracy"
    )
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0
    baselines: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @model_validator(mode="after")
    def _front_of_trials_alike(self) -> SearchConfig:
        if self.axes and self.halving is not None:
            words = f"got {self.halving} beside a front, whose trials must be trained alike"
            raise FieldError(("halving",), f"{words}; allowed: leave it out")
        return self

    @property
    def axes(self) -> tuple[str, ...]:
        """Of the front; empty where accuracy alone is looked for."""
        return self.objective.front if isinstance(self.objective, Front) else ()


class StudyConfig(_Section):
    """Everything about a study but its space."""

    schema_version: Annotated[SchemaVersion, Field(alias="schema")] = 1
    name: Annotated[str, AfterValidator(require_legal_name)]
    budget: Budget
    measure: MeasureConfig
    train: TrainConfig
    search: SearchConfig

    @model_validator(mode="after")
    def _limits_something(self) -> StudyConfig:
        if not self.budget.given() and not self.search.axes:
            names = ", ".join(Budget.model_fields)
            words = f"limits nothing; allowed: one or more of {names}"
            raise FieldError(("budget",), f"{words}, or a front as search.objective")
        return self

    @property
    def speeds(self) -> dict[str, float | None]:
        """The modes that are measured, with the images per second that each must reach; None
        where it is measured for the front."""
        least = self.budget.speeds
        return {m: least.get(m) for m in MODES if m in least or m in self.search.axes}

    @property
    def measures_memory(self) -> bool:
        return self.budget.memory is not None or "memory" in self.search.axes


@dataclass(frozen=True)
class Study:
    """A study's settings and its space.

    `frozen_mixers`, `frozen_data` and `frozen_trainer` are those of a study under way: where its
    mixers and its trainer came from, and what its data were.
    """

    config: StudyConfig
    space: Node
    frozen_mixers: tuple[dict[str, Any], ...] = ()
    frozen_data: dict[str, Any] | None = None
    frozen_trainer: dict[str, Any] | None = None

    @staticmethod
    def is_frozen_mixers(value: Any) -> bool:
        """Return whether `value` is of the form of `frozen_mixers`, as a list or tuple."""
        return isinstance(value, list | tuple) and all(
            isinstance(mixer, dict) and isinstance(mixer.get("name"), str) for mixer in value
        )

    @staticmethod
    def is_frozen_data(value: Any) -> bool:
        """Return whether `value` is of the form of `frozen_data`."""
        return value is None or (isinstance(value, dict) and isinstance(value.get("classes"), list))

    def to_data(self) -> dict[str, Any]:
        """The study as `study.yaml` holds it, complete; the name comes first."""
        data = self.config.model_dump(mode="json", by_alias=True)
        data["budget"] = self.config.budget.given()
        frozen: dict[str, Any] = {"mixers": list(self.frozen_mixers), "data": self.frozen_data}
        if self.frozen_trainer is not None:
            frozen["trainer"] = self.frozen_trainer
        return {**data, "space": self.space.plain(), **frozen}
