"""The zoo at a glance: what each backbone costs, and what was published of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from metaformer.yaml_tree import read_yaml

_HERE = Path(__file__).parent
_Figure = Annotated[float, Field(gt=0)]


class Published(BaseModel):
    """One backbone as published; what is None was not published for it.

    `params` in millions, `macs` in billions for one image, `top1` on ImageNet-1K in percent,
    `train` and `infer` in images per second (A100, batch 128). `timm` is timm's model of the same
    architecture, `weights` the name of its weights on the hub.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: str
    timm: str | None = None
    weights: str | None = None
    params: _Figure | None = None
    macs: _Figure | None = None
    top1: _Figure | None = None
    train: _Figure | None = None
    infer: _Figure | None = None


@dataclass(frozen=True)
class ZooEntry:
    """A backbone of the zoo: parameters, MACs for one image of its size, and what was published.

    The counts are written down (`counted.yaml`), so that a list needs no models; tests count
    them again.
    """

    name: str
    params: int
    macs: int
    published: Published


def zoo_table() -> list[ZooEntry]:
    """All backbones of the zoo, family by family."""
    counts = read_yaml(_HERE / "counted.yaml").plain()
    rows = _published().items()
    return [ZooEntry(name, counts[name][0], counts[name][1], row) for name, row in rows]


def published(name: str) -> Published:
    """Return the published figures of the zoo's `name`; KeyError if it is not of the zoo."""
    return _published()[name]


@cache
def _published() -> dict[str, Published]:
    plain = read_yaml(_HERE / "published.yaml").plain()
    return {name: Published.model_validate(row) for name, row in plain.items()}
