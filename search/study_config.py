"""A study as data: its budget, what is measured, what is trained, how it is searched, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from metaformer.spec import SchemaVersion
from metaformer.yaml_tree import Node

_Size = Annotated[int, Field(strict=True, ge=4, le=8192)]
_Batch = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
_Positive = Annotated[float, Field(strict=True, gt=0)]
_Count = Annotated[int, Field(strict=True, ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Budget(_Section):
    """Hard limits: images per second at least, `params` and `macs` (for one image) at most.

    At least one of them is given.
    """

    train: _Positive | None = None
    infer: _Positive | None = None
    params: _Count | None = None
    macs: _Count | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Budget:
        if all(value is None for value in (self.train, self.infer, self.params, self.macs)):
            raise ValueError("limits nothing; allowed: one or more of train, infer, params, macs")
        return self

    def given(self) -> dict[str, float]:
        """The limits that there are, by name."""
        return self.model_dump(exclude_none=True)

    @property
    def throughput(self) -> dict[str, float]:
        """Images per second by mode, for the modes that are budgeted."""
        both = {"train": self.train, "infer": self.infer}
        return {mode: value for mode, value in both.items() if value is not None}


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

    @model_validator(mode="after")
    def _precision_is_the_devices(self) -> MeasureConfig:
        if not self.device.startswith("cuda") and self.precision in ("tf32", "fp16"):
            raise ValueError(f"precision: got {self.precision} on a CPU; allowed: fp32, bf16")
        return self


class TrainConfig(_Section):
    """The cheaper stand-in that ranks candidates."""

    data: str
    image_size: _Size
    batch_size: Annotated[int, Field(strict=True, ge=2, le=1_000_000)]  # BatchNorm needs two
    epochs: _Count
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    learning_rate: _Positive = 2e-3
    weight_decay: Annotated[float, Field(strict=True, ge=0)] = 0.05
    label_smoothing: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.1


class SearchConfig(_Section):
    """`trials` is the study's total, not how many more."""

    trials: _Count
    objective: Literal["accuracy"] = "accuracy"
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0


class StudyConfig(_Section):
    """Everything about a study but its space."""

    schema_version: Annotated[SchemaVersion, Field(alias="schema")] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
    budget: Budget
    measure: MeasureConfig
    train: TrainConfig
    search: SearchConfig


@dataclass(frozen=True)
class Study:
    """A study's settings and its space.

    `frozen_mixers` and `frozen_data` are those of a study under way: where its mixers came from,
    and what its data were.
    """

    config: StudyConfig
    space: Node
    frozen_mixers: tuple[dict[str, Any], ...] = ()
    frozen_data: dict[str, Any] | None = None

    def to_data(self) -> dict[str, Any]:
        """The study as `study.yaml` holds it, complete; the name comes first."""
        data = self.config.model_dump(mode="json", by_alias=True)
        data["budget"] = self.config.budget.given()
        frozen = {"mixers": list(self.frozen_mixers), "data": self.frozen_data}
        return {**data, "space": self.space.plain(), **frozen}


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """What differs between two plain structures, a line each: `path: was X, now Y`."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for key in [*old, *(key for key in new if key not in old)]:
            where = f"{path}.{key}" if path else str(key)
            lines += differences(old.get(key), new.get(key), where)
        return lines
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{path}[{i}]")]
    return [] if old == new else [f"{path}: was {old}, now {new}"]
