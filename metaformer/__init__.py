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
    "backbone": ("Backbone", "build_backbone"),
    "counting": ("BackboneCost", "Cost", "count_backbone"),
    "errors": ("Mark", "Problem", "SpecError"),
    "extends": ("zoo_names",),
    "spec": (
        "BackboneSpec",
        "DownsampleSpec",
        "HeadSpec",
        "MlpSpec",
        "NormSpec",
        "StageSpec",
        "StemSpec",
    ),
    "spec_yaml": ("dump_spec", "load_spec"),
    "weights": ("from_timm", "to_timm"),
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
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
