"""State dicts to and from timm's models of the same architecture.

The map is data: for each of timm's model families, pairs of a timm key and ours. The first pair
that fits a key is used, in either direction, so one table serves both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from metaformer.backbone import Backbone

_BLOCK = "stages.{i}.blocks.{j}."

_METANEXT = (
    ("stem.0.{rest}", "stem.conv.{rest}"),
    ("stem.1.{rest}", "stem.norm.{rest}"),
    ("stages.{i}.downsample.0.{rest}", "stages.{i}.downsample.norm.{rest}"),
    ("stages.{i}.downsample.1.{rest}", "stages.{i}.downsample.conv.{rest}"),
    (_BLOCK + "gamma", _BLOCK + "layer_scale.gamma"),
)
_SAME = (("{rest}", "{rest}"),)


@dataclass(frozen=True)
class TimmFamily:
    """One of timm's model families: the mixers it has, and the pairs of keys."""

    name: str
    block: str
    mixers: frozenset[str]
    linear_mlp: bool
    pairs: tuple[tuple[str, str], ...]

    def rename(self, key: str, *, to_timm: bool) -> str:
        for timm_key, our_key in self.pairs:
            source, target = (our_key, timm_key) if to_timm else (timm_key, our_key)
            match = _pattern(source).fullmatch(key)
            if match:
                return target.format(**match.groupdict())
        raise AssertionError("the last pair fits every key")


FAMILIES = (
    TimmFamily(
        "inception_next",
        "metanext",
        frozenset({"inception_dw"}),
        False,
        (
            *_METANEXT,
            (_BLOCK + "token_mixer.dwconv_hw.{rest}", _BLOCK + "mixer.square.{rest}"),
            (_BLOCK + "token_mixer.dwconv_w.{rest}", _BLOCK + "mixer.horizontal.{rest}"),
            (_BLOCK + "token_mixer.dwconv_h.{rest}", _BLOCK + "mixer.vertical.{rest}"),
            ("head.fc1.{rest}", "head.hidden.fc.{rest}"),
            ("head.norm.{rest}", "head.hidden.norm.{rest}"),
            ("head.fc2.{rest}", "head.fc.{rest}"),
            *_SAME,
        ),
    ),
    TimmFamily(
        "convnext",
        "metanext",
        frozenset({"large_kernel_dw"}),
        True,
        (*_METANEXT, (_BLOCK + "conv_dw.{rest}", _BLOCK + "mixer.conv.{rest}"), *_SAME),
    ),
    TimmFamily(
        "metaformer",
        "metaformer",
        frozenset({"separable_conv"}),
        False,
        (
            (_BLOCK + "token_mixer.pwconv1.{rest}", _BLOCK + "mixer.expand.{rest}"),
            (_BLOCK + "token_mixer.act1.{rest}", _BLOCK + "mixer.activation.{rest}"),
            (_BLOCK + "token_mixer.dwconv.{rest}", _BLOCK + "mixer.depthwise.{rest}"),
            (_BLOCK + "token_mixer.pwconv2.{rest}", _BLOCK + "mixer.project.{rest}"),
            (_BLOCK + "res_scale{k}.scale", _BLOCK + "residual_scale{k}.gamma"),
            ("head.fc.fc1.{rest}", "head.hidden.fc.{rest}"),
            ("head.fc.norm.{rest}", "head.hidden.norm.{rest}"),
            ("head.fc.fc2.{rest}", "head.fc.{rest}"),
            *_SAME,
        ),
    ),
    TimmFamily(
        "swin_transformer",
        "metaformer",
        frozenset({"window_attention"}),
        True,
        (
            ("patch_embed.proj.{rest}", "stem.conv.{rest}"),
            ("patch_embed.norm.{rest}", "stem.norm.{rest}"),
            (
                "layers.{i}.blocks.{j}.attn.relative_position_bias_table",
                _BLOCK + "mixer.position_bias",
            ),
            ("layers.{i}.blocks.{j}.attn.proj.{rest}", _BLOCK + "mixer.project.{rest}"),
            ("layers.{i}.blocks.{j}.attn.{rest}", _BLOCK + "mixer.{rest}"),
            ("layers.{rest}", "stages.{rest}"),
            *_SAME,
        ),
    ),
)


def from_timm(state_dict: Mapping[str, Tensor], model: Backbone) -> dict[str, Tensor]:
    """timm's weights under the names and shapes of `model`, ready for `load_state_dict`.

    1×1 convolutions and linear layers have the same weights in other shapes and are reshaped.
    ValueError where timm has no model of this architecture, or the two do not fit.
    """
    family = family_of(model)
    renamed = {family.rename(key, to_timm=False): value for key, value in state_dict.items()}
    own = model.state_dict()
    missing = sorted(own.keys() - renamed.keys())
    surplus = sorted(renamed.keys() - own.keys())
    misfit = [
        f"{key} {tuple(renamed[key].shape)} for {tuple(own[key].shape)}"
        for key in sorted(own.keys() & renamed.keys())
        if _squeezed(renamed[key]) != _squeezed(own[key])
    ]
    if missing or surplus or misfit:
        parts = {"missing": missing, "not of this model": surplus, "of another shape": misfit}
        words = "; ".join(f"{what}: {_some(keys)}" for what, keys in parts.items() if keys)
        raise ValueError(f"these are not weights of {model.spec.name}: {words}")
    return {key: value.reshape(own[key].shape) for key, value in renamed.items()}


def to_timm(model: Backbone) -> dict[str, Tensor]:
    """The weights of `model` under the names and shapes of timm's model of this architecture.

    ValueError where timm has none.
    """
    family = family_of(model)
    state_dict = {}
    for key, value in model.state_dict().items():
        if re.search(r"\.mlp\.fc[12]\.weight$", key):
            value = value.flatten(1) if family.linear_mlp else value.reshape(*value.shape[:2], 1, 1)
        state_dict[family.rename(key, to_timm=True)] = value
    return state_dict


def family_of(model: Backbone) -> TimmFamily:
    """timm's family for the blocks and mixers of `model`; ValueError where timm has none."""
    blocks = {stage.block for stage in model.spec.stages}
    mixers = {mixer.name for stage in model.spec.stages for mixer in stage.block_mixers}
    for family in FAMILIES:
        if blocks == {family.block} and mixers <= family.mixers:
            return family
    raise ValueError(
        f"{model.spec.name}: timm has no model of {' and '.join(sorted(blocks))} blocks "
        f"with {', '.join(sorted(mixers))}"
    )


def _pattern(template: str) -> re.Pattern[str]:
    """`stages.{i}.{rest}` as a pattern: i, j, k are digits, rest is anything."""
    text = re.escape(template)
    for name in "ijk":
        text = text.replace(rf"\{{{name}\}}", rf"(?P<{name}>\d+)")
    return re.compile(text.replace(r"\{rest\}", "(?P<rest>.+)"))


def _squeezed(tensor: Tensor) -> tuple[int, ...]:
    """The shape without trailing sides of 1, equal for a 1×1 convolution and a linear layer."""
    shape = tuple(tensor.shape)
    return shape[:2] if shape[2:] == (1, 1) else shape


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
