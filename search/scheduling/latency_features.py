"""Per-stage features for the latency model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from metaformer.spec import BackboneSpec
from search.bayesopt.latency_model import Description


def describe(spec: BackboneSpec) -> Description:
    """Return the features of `spec`: numbers of a block's fields are summed over the blocks,
    other values are counted."""
    stages = []
    for stage in spec.stages:
        parts: dict[str, float] = defaultdict(float)
        fields = stage.model_dump(exclude={"depth", "width", "mixer", "downsample"})
        for name, value in _scalars(fields):
            _add(parts, name, value, stage.depth)
        for mixer in stage.block_mixers:
            parts[f"mixer={mixer.name}"] += 1
            for option, value in mixer.options.items():
                _add(parts, f"{mixer.name}.{option}", value, 1)
        parts["block"] = stage.depth
        stages.append(parts)
    return Description(tuple(stage.width for stage in spec.stages), tuple(stages))


def _scalars(fields: Mapping[str, Any], path: str = "") -> list[tuple[str, Any]]:
    """The fields of nested maps by their paths."""
    found: list[tuple[str, Any]] = []
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found += _scalars(value, f"{path}{name}.")
        else:
            found.append((path + name, value))
    return found


def _add(parts: dict[str, float], name: str, value: Any, times: int) -> None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        parts[name] += value * times
    else:
        parts[f"{name}={value}"] += times
