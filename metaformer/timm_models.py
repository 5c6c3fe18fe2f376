"""Every backbone of the zoo as a model of timm's: `mf_` and its name; `mf_spec` for any YAML file.

Importing this module registers them, as timm's own modules do: the one import here that does
something.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import register_notrace_function, register_notrace_module
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor

from metaformer.backbone import Backbone, build_backbone, map_sizes
from metaformer.errors import Problem, SpecError
from metaformer.extends import zoo_names
from metaformer.layers import PatchMerging
from metaformer.spec import BackboneSpec
from metaformer.spec_yaml import load_spec
from metaformer.timm_families import family_of_weights
from metaformer.zoo_table import published
from mixers import installed_mixers
from mixers.builtin.window_attention import WindowAttention
from mixers.pointwise import pointwise

PREFIX = "mf_"

register_notrace_function(pointwise)  # its way depends on the memory of its input
for _kind in (WindowAttention, PatchMerging):
    register_notrace_module(_kind)  # their padding depends on the size of their input


def create(
    spec: BackboneSpec, variant: str, pretrained: bool = False, **settings: Any
) -> torch.nn.Module:
    """timm's way to a model of `spec`: pretrained weights, feature extraction, settings."""
    stages = tuple(range(len(spec.stages)))
    model: torch.nn.Module = build_model_with_cfg(
        partial(_build, spec),
        variant,
        pretrained,
        pretrained_filter_fn=_from_timm_where_it_is,
        feature_cfg={"out_indices": stages, "flatten_sequential": True},
        **settings,
    )
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


def _from_timm_where_it_is(state_dict: dict[str, Tensor], model: Backbone) -> dict[str, Tensor]:
    """The names and shapes of `model` for weights of timm's family; ours are left alone."""
    family = family_of_weights(state_dict)
    if family is None:
        return state_dict
    renamed = {family.rename(key, to_timm=False): value for key, value in state_dict.items()}
    own = model.state_dict()
    for key, value in renamed.items():
        if key in own and value.ndim != own[key].ndim and value.numel() == own[key].numel():
            renamed[key] = value.reshape(own[key].shape)
    return renamed


def _default_cfg(name: str) -> dict[str, Any]:
    spec = load_spec(name, installed_mixers())
    size = spec.image_size
    last = map_sizes(spec, size)[-1]
    registry = installed_mixers()
    mixers = {mixer.name for stage in spec.stages for mixer in stage.mixer}
    fixed = any(registry[mixer].fixed_map_size for mixer in mixers)
    weights = published(name).weights
    return {
        "url": "",
        **({"hf_hub_id": f"timm/{weights}"} if weights else {}),
        "num_classes": spec.num_classes,
        "input_size": (spec.in_channels, size, size),
        "pool_size": (last, last),
        "fixed_input_size": fixed,
        "crop_pct": 1.0 if size > 224 else 0.9,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.conv",
        "classifier": "head.fc",
    }


def _entry_point(name: str) -> Callable[..., torch.nn.Module]:
    def make(pretrained: bool = False, **settings: Any) -> torch.nn.Module:
        return create(load_spec(name), PREFIX + name, pretrained, **settings)

    make.__name__ = PREFIX + name
    make.__doc__ = f"The zoo's {name}."
    return make


def mf_spec(
    pretrained: bool = False, *, spec: str | BackboneSpec | None = None, **settings: Any
) -> torch.nn.Module:
    """The backbone of `spec`, a YAML file, a name of the zoo or a spec; ValueError without one."""
    if spec is None:
        raise ValueError("mf_spec: spec: missing; allowed: a YAML file or a known backbone")
    if not isinstance(spec, BackboneSpec):
        spec = load_spec(spec)
    settings.setdefault("num_classes", spec.num_classes)
    settings.setdefault("in_chans", spec.in_channels)
    size = settings.get("img_size", spec.image_size)
    settings.setdefault("img_size", size)
    return create(spec, "mf_spec", pretrained, **settings)


default_cfgs = generate_default_cfgs(
    {
        **{PREFIX + name: _default_cfg(name) for name in zoo_names()},
        "mf_spec": {"first_conv": "stem.conv", "classifier": "head.fc"},
    }
)
for _name in zoo_names():
    register_model(_entry_point(_name))
register_model(mf_spec)
