"""State dicts to and from timm's models, and published weights into backbones like theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from timm.layers import resize_rel_pos_bias_table
from timm.models import load_state_dict
from torch import Tensor

from metaformer.backbone import Backbone
from metaformer.timm_families import family_of, family_of_weights

_TIMM = "timm:"


def from_timm(state_dict: Mapping[str, Tensor], model: Backbone) -> dict[str, Tensor]:
    """timm's weights under the names and shapes of `model`, ready for `load_state_dict`.

    1×1 convolutions and linear layers have the same weights in other shapes and are reshaped.
    ValueError where timm has no model of this architecture, or the two do not fit.
    """
    family = family_of(model.spec)
    renamed = {family.rename(key, to_timm=False): value for key, value in state_dict.items()}
    fit = _fit(renamed, model)
    if fit.missing or fit.unused or fit.misfit:
        raise ValueError(f"these are not weights of {model.spec.name}: {fit.describe()}")
    return fit.tensors


def to_timm(model: Backbone) -> dict[str, Tensor]:
    """The weights of `model` under the names and shapes of timm's model of this architecture.

    ValueError, naming what differs, where timm has none.
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


@dataclass(frozen=True)
class Inheritance:
    """What a backbone took over from weights that were given.

    `share` is the part of its parameters and buffers, by count of numbers, that was taken over.
    `missing` had nothing in the weights, `misfit` something of another shape, `unused` of the
    weights had no place here. `resized` are position tables fitted to another window.
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
        return "; ".join([f"{self.share:.1%} taken over", *words])


def load_pretrained(model: Backbone, source: str | Path) -> Inheritance:
    """Loads into `model` every tensor of `source` that fits, and says what did not.

    `source` is a file (safetensors, or a torch file read with `weights_only=True`) with timm's
    names of any of its families or with ours, or `timm:NAME`, which timm downloads. A backbone
    that differs from the published one takes over what they share: stem, norms, MLPs, the mixers
    that stayed. ValueError where nothing fits or the file holds more than tensors, OSError where
    it cannot be read.
    """
    state_dict = _read(source)
    family = family_of_weights(state_dict)
    if family is not None:
        if family.name == "swin_transformer":
            state_dict = _swin_of_today(state_dict)
        state_dict = {family.rename(k, to_timm=False): v for k, v in state_dict.items()}
    fit = _fit(state_dict, model, resize=True)
    if not fit.tensors:
        raise ValueError(f"{source}: nothing in it fits {model.spec.name}: {fit.describe()}")
    model.load_state_dict(fit.tensors, strict=False)
    own = model.state_dict()
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
    """Which tensors fit a model, under its names and in its shapes, and which do not."""

    tensors: dict[str, Tensor]
    missing: list[str]
    unused: list[str]
    misfit: list[str]
    resized: list[str]

    def describe(self) -> str:
        parts = {"missing": self.missing, "not of this model": self.unused}
        parts["of another shape"] = self.misfit
        return "; ".join(f"{what}: {_some(keys)}" for what, keys in parts.items() if keys)


def _fit(given: Mapping[str, Tensor], model: Backbone, *, resize: bool = False) -> _Fit:
    own = model.state_dict()
    tensors: dict[str, Tensor] = {}
    misfit: list[str] = []
    resized: list[str] = []
    for key in sorted(own.keys() & given.keys()):
        value, like = given[key], own[key]
        if _squeezed(value) == _squeezed(like):
            tensors[key] = value.reshape(like.shape)
        elif resize and key.endswith(".position_bias") and value.shape[1] == like.shape[1]:
            window = model.get_submodule(key.rpartition(".")[0]).window
            tensors[key] = resize_rel_pos_bias_table(value, window, like.shape)
            resized.append(key)
        else:
            misfit.append(f"{key} {tuple(value.shape)} for {tuple(like.shape)}")
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
    except (RuntimeError, SafetensorError) as error:  # so timm names what would run code
        raise ValueError(f"{source}: cannot be read as weights: {error}") from error
    return {key: value for key, value in read.items() if isinstance(value, torch.Tensor)}


def _swin_of_today(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Swin's weights as first published: merging at a stage's end, masks among the weights."""
    as_published = "head.weight" in state_dict
    renamed = {}
    for key, value in state_dict.items():
        if key.endswith(("attn_mask", "relative_position_index")):
            continue
        if as_published:
            merging = re.fullmatch(r"layers\.(\d+)\.downsample\.(.+)", key)
            if merging:
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
