"""Vision backbones from data: YAML specs, one builder, any mixer in any skeleton.

Names are imported when they are first used, so that `import metaformer` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metaformer.backbone import Backbone, build_backbone
    from metaformer.counting import BackboneCost, Cost, count_backbone
    from metaformer.errors import Mark, Problem, SpecError
    from metaformer.extends import zoo_names
    from metaformer.spec import (
        BackboneSpec,
        DownsampleSpec,
        HeadSpec,
        MlpSpec,
        NormSpec,
        StageSpec,
        StemSpec,
    )
    from metaformer.spec_yaml import dump_spec, load_spec
    from metaformer.weights import from_timm, to_timm

_HOMES = {
    "Backbone": "backbone",
    "BackboneCost": "counting",
    "BackboneSpec": "spec",
    "Cost": "counting",
    "DownsampleSpec": "spec",
    "HeadSpec": "spec",
    "Mark": "errors",
    "MlpSpec": "spec",
    "NormSpec": "spec",
    "Problem": "errors",
    "SpecError": "errors",
    "StageSpec": "spec",
    "StemSpec": "spec",
    "build_backbone": "backbone",
    "count_backbone": "counting",
    "dump_spec": "spec_yaml",
    "from_timm": "weights",
    "load_spec": "spec_yaml",
    "to_timm": "weights",
    "zoo_names": "extends",
}

__all__ = [
    "Backbone",
    "BackboneCost",
    "BackboneSpec",
    "Cost",
    "DownsampleSpec",
    "HeadSpec",
    "Mark",
    "MlpSpec",
    "NormSpec",
    "Problem",
    "SpecError",
    "StageSpec",
    "StemSpec",
    "build_backbone",
    "count_backbone",
    "dump_spec",
    "from_timm",
    "load_spec",
    "to_timm",
    "zoo_names",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
