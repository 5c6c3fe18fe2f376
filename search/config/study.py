"""A study as data: its budget, what is measured, what is trained, how it is searched, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    model_validator,
)

from metaformer.errors import FieldError
from metaformer.spec import SchemaVersion
from metaformer.yaml_tree import Node
from search.config._objective import Front, checked_objective
from search.config.locate import require_legal_name
from search.formatting import MODES
from search.settings import BatchSize, Count, PositiveNumber, Section, Size
from search.training.config import TrainConfig


class Budget(Section):
    """Hard limits: images per second at least; `latency` (milliseconds that one image takes),
    `memory` (GiB, at the peak of a measured step), `params` and `macs` (for one image) at most."""

    train: PositiveNumber | None = None
    infer: PositiveNumber | None = None
    latency: PositiveNumber | None = None
    memory: PositiveNumber | None = None
    params: Count | None = None
    macs: Count | None = None

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


class MeasureConfig(Section):
    """The model as it will be deployed.

    `device` is cpu, cuda or cuda:N once resolved; `threads` are torch's, on a CPU.
    """

    device: str = "cpu"
    threads: Annotated[int, Field(strict=True, ge=1, le=1024)] = 1
    image_size: Size
    batch_size: BatchSize
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


class SearchConfig(Section):
    """`trials` is the study's total, not how many more. A trial that takes longer than
    `trial_seconds` is ended; by default none is. `objective` is accuracy, or a front. `halving` has
    candidates train for a part of the epochs at first, and promotes one in so many. `baselines` are
    measured and trained as candidates are, for comparison: YAML files, known backbones, timm:NAME,
    torchvision:NAME."""

    trials: Count
    halving: Annotated[int, Field(strict=True, ge=2, le=10)] | None = None
    trial_seconds: PositiveNumber | None = None
    objective: Annotated[Literal["accuracy"] | Front, BeforeValidator(checked_objective)] = (
        "accuracy"
    )
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0
    baselines: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    @model_validator(mode="after")
    def _front_of_trials_alike(self) -> SearchConfig:
        if self.axes and self.halving is not None:
            words = f"got {self.halving} next to a front, whose trials must be trained alike"
            raise FieldError(("halving",), f"{words}; allowed: leave it out")
        return self

    @property
    def axes(self) -> tuple[str, ...]:
        """Of the front; empty if accuracy alone is looked for."""
        return self.objective.front if isinstance(self.objective, Front) else ()


class StudyConfig(Section):
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
        if it is measured for the front."""
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
