"""A study as data: its budget, what is measured, what is trained, how it is searched, and where.

Three layers, each over the one before: the device's defaults (`search/defaults/*.yaml`), the
study file, the command line. A `space` replaces as a whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from metaformer.errors import Problem, SpecError
from metaformer.extends import merge, resolve_extends
from metaformer.spec_yaml import shorten, validate_node
from metaformer.yaml_tree import Node, plain_node, read_yaml
from search.devices import DEVICE_NAME, require_device
from search.errors import UsageError

DEFAULTS = Path(__file__).parent / "defaults"
LARGE_CPU_IMAGE = 64  # from here on the CPU's default space has a stem of stride 4

_Size = Annotated[int, Field(strict=True, ge=4, le=8192)]
_Batch = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
_Positive = Annotated[float, Field(strict=True, gt=0)]
_Count = Annotated[int, Field(strict=True, ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Budget(_Section):
    """Hard limits: images per second at least, `params` and `macs` (for one image) at most."""

    train: _Positive | None = None
    infer: _Positive | None = None
    params: _Count | None = None
    macs: _Count | None = None

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
    batch_size: _Batch
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

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
    budget: Budget
    measure: MeasureConfig
    train: TrainConfig
    search: SearchConfig


@dataclass(frozen=True)
class Study:
    """A study's settings and its space; `frozen_mixers` are those of a study under way."""

    config: StudyConfig
    space: Node
    frozen_mixers: tuple[dict[str, Any], ...] = ()

    def to_data(self) -> dict[str, Any]:
        """The study as `study.yaml` holds it, complete; the name comes first."""
        data = self.config.model_dump(mode="json", by_alias=True)
        data["budget"] = self.config.budget.model_dump(exclude_none=True)
        return {**data, "space": self.space.plain(), "mixers": list(self.frozen_mixers)}


def load_study(
    file: str | Path | None, overrides: dict[str, Any], *, device: str | None = None
) -> Study:
    """The study of `file` (none: the device's default) under the command line's `overrides`.

    `overrides` are nested like the file. `device` is cpu or cuda:N; without it the file's
    `measure.device` counts, else the best one here. SpecError for what is wrong in the file,
    UsageError for a setting that is missing, EnvironmentProblem for a device that is not there.
    """
    own = _read_study(file) if file is not None else plain_node({}, source="")
    said = plain_node(overrides, source="command line")
    asked = merge(own, said)
    device = device or str(require_device(_asked_device(asked)))
    defaults = _defaults(device, asked)
    entries = dict(merge(defaults, _without(asked, "space")).map)
    space = own.map.get("space", defaults.map["space"])
    entries.pop("space", None)
    mixers = entries.pop("mixers", None)
    node = Node(entries, asked.mark, asked.key_marks)
    data = node.plain()
    _complete(data, device)
    config = validate_node(StudyConfig, node, data, [], sugar=("space", "mixers"))
    chain = (Path(file).resolve(),) if file is not None else ()
    frozen = tuple(mixers.plain()) if mixers is not None else ()
    return Study(config, resolve_extends(space, chain=chain), frozen)


def _read_study(file: str | Path) -> Node:
    if not Path(file).is_file():
        raise UsageError(f"{file}: no such study file")
    node = read_yaml(file)
    if not isinstance(node.value, dict):
        raise SpecError(Problem("", "a study must be a map of keys and values", node.mark))
    if "stages" in node.map and "space" not in node.map:
        words = "this is a backbone; a study holds it under space, beside budget and the rest"
        raise SpecError(Problem("stages", words, node.key_marks["stages"]))
    return node


def _asked_device(asked: Node) -> str:
    measure = asked.map.get("measure")
    device = measure.map.get("device") if measure is not None else None
    if device is None:
        return "auto"
    if not isinstance(device.value, str) or not re.fullmatch(DEVICE_NAME, device.value):
        words = f"got {shorten(device.plain())}; allowed: auto, cpu, cuda, cuda:N"
        raise SpecError(Problem("measure.device", words, device.mark))
    return device.value


def _defaults(device: str, asked: Node) -> Node:
    if device.startswith("cuda"):
        return read_yaml(DEFAULTS / "cuda.yaml")
    measure = asked.map.get("measure")
    size = measure.map.get("image_size") if measure is not None else None
    large = size is not None and isinstance(size.value, int) and size.value >= LARGE_CPU_IMAGE
    return read_yaml(DEFAULTS / ("cpu_64.yaml" if large else "cpu.yaml"))


def _without(node: Node, key: str) -> Node:
    entries = {name: value for name, value in node.map.items() if name != key}
    return Node(entries, node.mark, node.key_marks)


def _complete(data: dict[str, Any], device: str) -> None:
    """Fills in what follows from the rest: device, training size, name."""
    budget = data.get("budget")
    if not budget:
        raise UsageError(
            "a budget is needed: --budget-throughput N, or budget: {train: N} in the study file"
        )
    for section in ("measure", "train"):
        if not isinstance(data.get(section), dict):
            return  # pydantic says what is wrong with it
    data["measure"]["device"] = device
    data["train"].setdefault("image_size", data["measure"].get("image_size"))
    source = data["train"].get("data")
    if isinstance(source, str) and source.startswith("folder:"):
        source = f"folder:{Path(source.removeprefix('folder:')).resolve()}"
        data["train"]["data"] = source
    data.setdefault("name", _default_name(str(source), budget))


def _default_name(source: str, budget: Any) -> str:
    kind, _, rest = source.partition(":")
    stem = Path(rest.partition("@")[0]).name if rest else kind
    limits = budget.items() if isinstance(budget, dict) else ()
    parts = [
        stem,
        *(f"{key}{value:.12g}" for key, value in limits if isinstance(value, int | float)),
    ]
    return re.sub(r"[^A-Za-z0-9_.-]", "-", "-".join(parts))[:100].lstrip("_.-") or "study"


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
