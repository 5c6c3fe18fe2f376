"""State dicts to and from timm's models, and published weights into backbones like theirs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from timm.layers import resize_rel_pos_bias_table
from timm.models import adapt_input_conv, load_state_dict
from torch import Tensor, nn

from metaformer._timm_families import family_of, family_of_weights
from metaformer._wrapped_backbone import FeaturesOfBackbone, backbone_in
from metaformer.backbone import Backbone

_TIMM = "timm:"
_UNREADABLE = (  # what torch and timm raise for files that are damaged, of another kind, or code
    RuntimeError,
    SafetensorError,
    EOFError,
    LookupError,
    AttributeError,
    TypeError,
    ValueError,
)


def from_timm(state_dict: Mapping[str, Tensor], model: Backbone) -> dict[str, Tensor]:
    """timm's weights under the names and shapes of `model`, ready for `load_state_dict`.

    1×1 convolutions and linear layers have the same weights in other shapes and are reshaped.
    ValueError if timm has no model of this architecture, or the two do not fit.
    """
    family = family_of(model.spec)
    renamed = {family.rename(key, to_timm=False): value for key, value in state_dict.items()}
    fit = _fit(renamed, model)
    if fit.missing or fit.unused or fit.misfit:
        raise ValueError(f"these are not weights of {model.spec.name}: {fit.describe()}")
    return fit.tensors


def to_timm(model: Backbone) -> dict[str, Tensor]:
    """The weights of `model` under the names and shapes of timm's model of this architecture.

    ValueError, naming what differs, if timm has none.
    """
    family = family_of(model.spec)
    state_dict = {}
    for key, value in model.state_dict().items():
        mlp = re.fullmatch(r"stages\.(\d+)\.blocks\.(\d+)\.mlp\.fc[12]\.weight", key)
        if mlp is not None:
            mixer = model.spec.stages[int(mlp[1])].block_mixers[int(mlp[2])]
            linear = mixer.name in family.with_linear_mlp
            value = value.flatten(1) if linear else value.reshape(*value.shape[:2], 1, 1)
        state_dict[family.rename(key, to_timm=True)] = value
    return state_dict


def our_names(
    state_dict: Mapping[str, Tensor], model: Backbone | FeaturesOfBackbone
) -> dict[str, Tensor]:
    """Weights of any of timm's families under the names of `model`; others as they are.

    Weights of a mixer in whose place `model` has another keep timm's names, even if the other
    calls some of its own alike.
    """
    family = family_of_weights(state_dict)
    if family is None:
        return dict(state_dict)
    if family.name == "swin_transformer":
        state_dict = _swin_of_today(state_dict)
    foreign = {
        f"stages.{i}.blocks.{j}.mixer."
        for i, stage in enumerate(model.spec.stages)
        for j, mixer in enumerate(stage.block_mixers)
        if not family.shares(mixer)
    }
    renamed = {}
    for key, value in state_dict.items():
        ours = family.rename(key, to_timm=False)
        is_foreign = any(ours.startswith(prefix) for prefix in foreign)
        renamed[key if is_foreign else ours] = value
    return renamed


def fitted(key: str, value: Tensor, model: Backbone | FeaturesOfBackbone) -> Tensor | None:
    """`value` in the shape that `model` has under `key`; None if it does not fit.

    1×1 convolutions and linear layers are reshaped into each other, position tables are
    interpolated to another window, and the stem's kernels for three channels adapted to others.
    """
    like = model.state_dict()[key]
    if _squeezed(value) == _squeezed(like):
        return value.reshape(like.shape)
    if key.endswith(".position_bias") and value.shape[1] == like.shape[1]:
        window = model.get_submodule(key.rpartition(".")[0]).window
        resized: Tensor = resize_rel_pos_bias_table(value, window, like.shape)
        return resized
    if key == "stem.conv.weight" and value.shape[1] == 3 and value.shape[2:] == like.shape[2:]:
        adapted: Tensor = adapt_input_conv(like.shape[1], value)
        return adapted if adapted.shape == like.shape else None
    return None


@dataclass(frozen=True)
class Inheritance:
    """Weights that a backbone took over.

    `share` is the part of its parameters and buffers, by count of numbers, that was taken over.
    `missing` had nothing in the weights, `misfit` something of another shape, `unused` of the
    weights had no place here. `resized` are position tables that were fitted to another window,
    and a stem's kernels that were adapted to another number of channels.
    """

    share: float
    missing: tuple[str, ...]
    misfit: tuple[str, ...]
    unused: tuple[str, ...]
    resized: tuple[str, ...]

    def __str__(self) -> str:
        parts = {"missing": self.missing, "of another shape": self.misfit, "unused": self.unused}
        parts["resized"] = self.resized
        words = [f"{what}: {_some(keys)}" for what, keys in parts.items() if keys]
        percent = math.floor(1000 * self.share) / 10  # 100 % is the whole
        return "; ".join([f"{percent:.1f}% taken over", *words])


def load_pretrained(model: nn.Module, source: str | Path) -> Inheritance:
    """Loads into `model` every tensor of `source` that fits, and says what did not.

    `model` is a backbone, also as timm's `features_only` has it, compiled or in parallel.

    `source` is a file (safetensors, or a torch file read with `weights_only=True`) with timm's
    names of any of its families or with ours, or `timm:NAME`, which timm downloads. A backbone
    that differs from the published one takes over what they share: stem, norms, MLPs, the mixers
    that stayed. ValueError if nothing fits, `model` is another network or the file holds more
    than tensors, OSError if it cannot be read.
    """
    backbone = backbone_in(model)
    name = backbone.spec.name
    if any(parameter.is_meta for parameter in backbone.parameters()):
        raise ValueError(f"{name} lies on the meta device; allowed: a model with memory")
    state_dict = our_names(_read(source), backbone)
    fit = _fit(state_dict, backbone, resize=True)
    if not fit.tensors:
        raise ValueError(f"{source}: nothing in it fits {name}: {fit.describe()}")
    backbone.load_state_dict(fit.tensors, strict=False)
    own = backbone.state_dict()
    total = sum(value.numel() for value in own.values())
    return Inheritance(
        share=sum(own[key].numel() for key in fit.tensors) / total,
        missing=tuple(fit.missing),
        misfit=tuple(fit.misfit),
        unused=tuple(fit.unused),
        resized=tuple(fit.resized),
    )


@dataclass(frozen=True)
class _Fit:
    """Tensors that fit a model, under its names and in its shapes, and those that do not."""

    tensors: dict[str, Tensor]
    missing: list[str]
    unused: list[str]
    misfit: list[str]
    resized: list[str]

    def describe(self) -> str:
        parts = {"missing": self.missing, "not of this model": self.unused}
        parts["of another shape"] = self.misfit
        return "; ".join(f"{what}: {_some(keys)}" for what, keys in parts.items() if keys)


def _fit(
    given: Mapping[str, Tensor], model: Backbone | FeaturesOfBackbone, *, resize: bool = False
) -> _Fit:
    own = model.state_dict()
    tensors: dict[str, Tensor] = {}
    misfit: list[str] = []
    resized: list[str] = []
    for key in sorted(own.keys() & given.keys()):
        value, like = given[key], own[key]
        changes = _squeezed(value) != _squeezed(like)
        fit = fitted(key, value, model) if resize or not changes else None
        if fit is None:
            misfit.append(f"{key} {tuple(value.shape)} for {tuple(like.shape)}")
            continue
        tensors[key] = fit
        resized += [key] if changes else []
    return _Fit(
        tensors,
        missing=sorted(own.keys() - given.keys()),
        unused=sorted(given.keys() - own.keys()),
        misfit=misfit,
        resized=resized,
    )


def _read(source: str | Path) -> dict[str, Tensor]:
    if str(source).startswith(_TIMM):
        name = str(source).removeprefix(_TIMM)
        weights: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
        return weights
    if not Path(source).is_file():
        raise FileNotFoundError(f"{source}: no such file; allowed: a file of weights, {_TIMM}NAME")
    try:
        read: dict[str, Tensor] = load_state_dict(str(source), device="cpu", weights_only=True)
    except _UNREADABLE as error:
        words = str(error) or type(error).__name__
        raise ValueError(f"{source}: cannot be read as weights: {words}") from error
    return {key: value for key, value in read.items() if isinstance(value, torch.Tensor)}


def _swin_of_today(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Swin's weights as first published: merging at a stage's end, masks among the weights."""
    merges_at_the_end = any(key.startswith("layers.0.downsample.") for key in state_dict)
    renamed = {}
    for key, value in state_dict.items():
        if key.endswith(("attn_mask", "relative_position_index")):
            continue
        merging = re.fullmatch(r"layers\.(\d+)\.downsample\.(.+)", key)
        if merging and merges_at_the_end:
            key = f"layers.{int(merging[1]) + 1}.downsample.{merging[2]}"
        key = re.sub(r"^head\.(weight|bias)$", r"head.fc.\1", key)
        renamed[key] = value
    return renamed


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    """The shape without trailing sides of 1, equal for a 1×1 convolution and a linear layer."""
    shape = tuple(tensor.shape)
    return shape[:2] if shape[2:] == (1, 1) else shape


def _some(keys: list[str] | tuple[str, ...]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
