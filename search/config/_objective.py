"""Objective of a search: accuracy, or a Pareto front of accuracy and costs."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from metaformer.errors import FieldError, shorten
from mixers.errors import nearest
from search.formatting import MODES

AXES = ("accuracy", *MODES, "memory", "params", "macs")  # accuracy, and what a budget may limit


class Front(BaseModel):
    """The front of these axes, accuracy and what it is traded for, named as in `budget`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    front: tuple[str, ...]


def checked_objective(said: Any) -> Any:
    """ValueError if `said` is neither accuracy nor a front."""
    if said == "accuracy" or isinstance(said, Front):
        return said
    allowed = f"allowed: accuracy and one or more of {', '.join(AXES[1:])}"
    if not isinstance(said, dict) or set(said) != {"front"}:
        words = f"got {shorten(said)}; allowed: accuracy, or front: [accuracy, ...] of accuracy and"
        raise ValueError(f"{words} one or more of {', '.join(AXES[1:])}")
    axes = said["front"]
    if not isinstance(axes, list | tuple):
        raise FieldError(("front",), f"got {shorten(axes)}; a list is needed, {allowed}")
    for index, axis in enumerate(axes):
        if axis not in AXES:
            words = f"got {shorten(axis)}; {allowed}{nearest(str(axis), AXES)}"
            raise FieldError(("front", index), words)
        if axis in axes[:index]:
            raise FieldError(("front", index), f"{axis} is there twice; allowed: each name once")
    if "accuracy" not in axes or len(axes) < 2:
        raise FieldError(("front",), f"got {shorten(axes)}; {allowed}")
    return Front(front=tuple(axes))
