"""Every backbone of the zoo as a model of timm's: `mf_` and its name; `mf_spec` for any YAML file.

Importing this module registers them, as timm's own modules do: the one import here that does
something.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import register_notrace_module
from timm.models import (
    FeatureListNet,
    build_model_with_cfg,
    generate_default_cfgs,
    get_pretrained_cfg,
    is_model,
    register_model,
)
from torch import Tensor

from metaformer._layers import PatchMerging
from metaformer._weights import fitted, our_names
from metaformer.backbone import Backbone, build_backbone
from metaformer.errors import Problem, SpecError
from metaformer.extends import zoo_names
from metaformer.sites import map_sizes
from metaformer.spec import BackboneSpec
from metaformer.spec_yaml import load_spec, parse_spec, placing
from metaformer.yaml_tree import plain_node
from metaformer.zoo_table import published
from mixers import MixerRegistry, installed_mixers, load_registry
from mixers.builtin.random_mixing import RandomMixing
from mixers.builtin.window_attention import WindowAttention
from mixers.pointwise import Pointwise

PREFIX = "mf_"
_EVALUATION = (  # of timm's description of published weights, what does not depend on whose names
    "crop_pct", "crop_mode", "interpolation", "mean", "std", "test_input_size", "test_crop_pct",
    "license", "origin_url", "paper_ids", "paper_name",
)  # fmt: skip

# what depends on the size or the memory of its input
for _kind in (Pointwise, RandomMixing, WindowAttention, PatchMerging):
    register_notrace_module(_kind)


def create(
    spec: BackboneSpec, variant: str, pretrained: bool = False, **settings: Any
) -> torch.nn.Module:
    """timm's way to a model of `spec`: pretrained weights, feature extraction, settings."""
    stages = tuple(range(len(spec.stages)))
    model: torch.nn.Module = build_model_with_cfg(
        partial(_build, spec),
        variant,
        pretrained,
        pretrained_filter_fn=_fitted_weights,
        feature_cfg={"out_indices": stages, "flatten_sequential": True},
        **settings,
    )
    if isinstance(model, FeatureListNet):
        model.spec = spec  # by which `load_pretrained` knows its parameters
    return model


def _build(
    spec: BackboneSpec,
    *,
    in_chans: int = 3,
    num_classes: int = 1000,
    global_pool: str = "avg",
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
    output_stride: int | None = None,
    img_size: int | tuple[int, int] | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Backbone:
    """The backbone of `spec` with timm's settings over its own."""
    asked: dict[str, Any] = {"in_channels": in_chans, "num_classes": num_classes}
    asked |= {"drop_rate": drop_rate, "drop_path_rate": drop_path_rate}
    own = spec.model_copy(update={key: value for key, value in asked.items() if value is not None})
    return build_backbone(
        own,
        image_size=_side(img_size),
        global_pool=global_pool,
        output_stride=None if output_stride == _full_stride(spec) else output_stride,
        device=device,
        dtype=dtype,
    )


def _side(img_size: int | tuple[int, int] | None) -> int | None:
    if img_size is None or isinstance(img_size, int):
        return img_size
    if img_size[0] != img_size[1]:
        words = f"got {img_size}; allowed: a square; others may be fed all the same"
        raise SpecError(Problem("img_size", words))
    return img_size[0]


def _full_stride(spec: BackboneSpec) -> int:
    stride = spec.stem.reduction
    for stage in spec.stages:
        stride *= stage.downsample.stride if stage.downsample is not None else 1
    return stride


def _fitted_weights(state_dict: dict[str, Tensor], model: Backbone) -> dict[str, Tensor]:
    """The names and, if they can be had, the shapes of `model`; the rest is timm's to refuse."""
    own = model.state_dict().keys()
    named = our_names(state_dict, model)
    fits = {key: fitted(key, value, model) if key in own else None for key, value in named.items()}
    return {key: named[key] if fit is None else fit for key, fit in fits.items()}


def pretrained_cfg_of(spec: BackboneSpec, registry: MixerRegistry) -> dict[str, Any]:
    """Return timm's `pretrained_cfg` of a backbone: sizes, preprocessing, first and last layer."""
    size = spec.image_size
    last = map_sizes(spec, size)[-1]
    mixers = {mixer.name for stage in spec.stages for mixer in stage.mixer}
    return {
        "num_classes": spec.num_classes,
        "input_size": (spec.in_channels, size, size),
        "pool_size": (last, last),
        "fixed_input_size": any(registry[mixer].fixed_map_size for mixer in mixers),
        "crop_pct": 1.0 if size > 224 else 0.9,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.conv",
        "classifier": "head.fc",
    }


def _default_cfg(name: str) -> dict[str, Any]:
    """That of the zoo's `name`: with published weights, evaluated as they are in timm."""
    cfg = pretrained_cfg_of(_SPECS[name], _REGISTRY)
    weights = published(name).weights
    theirs = get_pretrained_cfg(weights) if weights is not None else None
    if theirs is None:
        return cfg
    kept = {key: value for key, value in theirs.to_dict().items() if key in _EVALUATION}
    return {**cfg, **kept, "hf_hub_id": f"timm/{weights}"}


def _entry_point(name: str) -> Callable[..., torch.nn.Module]:
    def make(pretrained: bool = False, **settings: Any) -> torch.nn.Module:
        return create(_SPECS[name], PREFIX + name, pretrained, **settings)

    make.__name__ = PREFIX + name
    make.__doc__ = f"The zoo's {name}."
    return make


def mf_spec(
    pretrained: bool = False,
    *,
    spec: str | Mapping[str, Any] | BackboneSpec | None = None,
    **settings: Any,
) -> torch.nn.Module:
    """The backbone of `spec`, a YAML file, a name of the zoo or a spec; ValueError without one.

    A map is a spec as `BackboneSpec.to_data` makes it, which timm's config.json can hold.
    """
    if spec is None:
        raise ValueError("mf_spec: spec: missing; allowed: a YAML file or a known backbone")
    source = None
    if isinstance(spec, Mapping):
        spec = parse_spec(plain_node(dict(spec), source="mf_spec: spec"))
    elif not isinstance(spec, BackboneSpec):
        source, spec = spec, load_spec(spec)
    settings.setdefault("num_classes", spec.num_classes)
    settings.setdefault("in_chans", spec.in_channels)
    size = settings.get("img_size", spec.image_size)
    settings.setdefault("img_size", size)
    settings["pretrained_cfg"] = settings.get("pretrained_cfg") or pretrained_cfg_of(
        spec, load_registry()
    )
    with placing(source) if source is not None else nullcontext():
        return create(spec, "mf_spec", pretrained, **settings)


def register_spec(path: str | Path, name: str | None = None) -> str:
    """Register a YAML file with timm, so that `timm.create_model(name)` builds its backbone.

    Libraries such as segmentation-models-pytorch and transformers create a model by its name alone.
    The registration holds for this process; the file is read once, now.

    Args:
        path: The YAML file.
        name: Name of the model, of letters, digits and underscores; by default that of the spec.

    Returns:
        The name.

    Raises:
        SpecError: The file is not there or is no backbone, the name cannot be one, or another
            backbone has it.
    """
    registry = load_registry()
    spec = load_spec(path, registry)
    name = spec.name if name is None else name
    if not name.isidentifier() or not name.isascii():
        words = f"got {name!r}; allowed: letters, digits and underscores, not a digit first"
        raise SpecError(Problem("name", words))
    known = _REGISTERED.get(name)
    if known is not None and known.digest == spec.digest:
        return name
    if known is not None or is_model(name):
        raise SpecError(Problem("name", f"got {name}; timm has another model of this name"))

    def make(pretrained: bool = False, **settings: Any) -> torch.nn.Module:
        settings.setdefault("num_classes", spec.num_classes)
        settings.setdefault("in_chans", spec.in_channels)
        settings.setdefault("img_size", spec.image_size)
        with placing(str(path)):
            return create(spec, name, pretrained, **settings)

    make.__name__ = name
    make.__doc__ = f"The backbone of {path}."
    default_cfgs.update(generate_default_cfgs({name: pretrained_cfg_of(spec, registry)}))
    register_model(make)
    _REGISTERED[name] = spec
    return name


_REGISTERED: dict[str, BackboneSpec] = {}
_REGISTRY = installed_mixers()
_SPECS = {name: load_spec(name, _REGISTRY) for name in zoo_names()}
default_cfgs = generate_default_cfgs(
    {
        **{PREFIX + name: _default_cfg(name) for name in zoo_names()},
        "mf_spec": {"first_conv": "stem.conv", "classifier": "head.fc"},
    }
)
for _name in zoo_names():
    register_model(_entry_point(_name))
register_model(mf_spec)
