"""timm's model families: which backbones they have, and how they name the weights.

The maps are data: for each family, pairs of a timm key and ours. The first pair that fits a key
is used, in either direction, so one table serves both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from metaformer._key_templates import translate
from metaformer.spec import BackboneSpec, StageSpec
from metaformer.spec_yaml import load_spec
from mixers import MixerSpec, installed_mixers

_COMPARED = ("number of stages", "stem", "head", "stages")
_SHOWN_BY_NAMES = ("square_branch", "bands")  # options
_BLOCK = "stages.{i}.blocks.{j}."
_LAYER = "layers.{i}.blocks.{j}."
_SAME = ("{rest}", "{rest}")
_METANEXT = (
    ("stem.0.{rest}", "stem.conv.{rest}"),
    ("stem.1.{rest}", "stem.norm.{rest}"),
    ("stages.{i}.downsample.0.{rest}", "stages.{i}.downsample.norm.{rest}"),
    ("stages.{i}.downsample.1.{rest}", "stages.{i}.downsample.conv.{rest}"),
    (_BLOCK + "gamma", _BLOCK + "layer_scale.gamma"),
)
_METAFORMER = (
    (_BLOCK + "token_mixer.pwconv1.{rest}", _BLOCK + "mixer.expand.{rest}"),
    (_BLOCK + "token_mixer.act1.{rest}", _BLOCK + "mixer.activation.{rest}"),
    (_BLOCK + "token_mixer.dwconv.{rest}", _BLOCK + "mixer.depthwise.{rest}"),
    (_BLOCK + "token_mixer.pwconv2.{rest}", _BLOCK + "mixer.contract.{rest}"),
    (_BLOCK + "token_mixer.proj.{rest}", _BLOCK + "mixer.project.{rest}"),
    (_BLOCK + "token_mixer.{rest}", _BLOCK + "mixer.{rest}"),
    (_BLOCK + "layer_scale{k}.scale", _BLOCK + "layer_scale{k}.gamma"),
    (_BLOCK + "res_scale{k}.scale", _BLOCK + "residual_scale{k}.gamma"),
)
_LATER, _FIRST = "layer{i+1}.{j+1}.", "layer{i+1}.0."
_RESIDUAL = "stages.{i}.downsample."
_RESNET_BLOCK = (
    ("conv1.{rest}", "mlp.fc1.{rest}"),
    ("bn1.{rest}", "mlp.norm1.{rest}"),
    ("bn2.{rest}", "norm.{rest}"),
    ("conv3.{rest}", "mlp.fc2.{rest}"),
    ("bn3.{rest}", "mlp.norm2.{rest}"),
)
_METAFORMER_MIXERS: dict[str, dict[str, Any]] = {
    "separable_conv": {},
    "attention": {"head_width": 32, "qkv_bias": False, "projection_bias": False},
    "pooling": {"pool_size": 3},
    "identity": {},
}


@dataclass(frozen=True)
class TimmFamily:
    """One of timm's model families.

    `bases` are backbones of our zoo that show its skeletons; `mixers` are those it has, with
    the options that it fixes. The MLPs next to the mixers of `with_linear_mlp` are linear layers
    in timm, the others 1×1 convolutions. `mlp_ratios` says whether the ratio of the MLPs is
    that of the bases, one for all stages, or any. `mark`, a pattern, is found in the names of
    its weights and of no family's below it, nor in ours.
    """

    name: str
    bases: tuple[str, ...]
    mixers: Mapping[str, Mapping[str, Any]]
    mark: str
    pairs: tuple[tuple[str, str], ...]
    with_linear_mlp: frozenset[str] = field(default_factory=frozenset)
    mlp_ratios: Literal["fixed", "one", "any"] = "fixed"

    def rename(self, key: str, *, to_timm: bool) -> str:
        """The other side's name of `key`."""
        for timm_key, our_key in (*self.pairs, _SAME):
            source, target = (our_key, timm_key) if to_timm else (timm_key, our_key)
            translated = translate(key, source, target)
            if translated is not None:
                return translated
        raise AssertionError("the last pair fits every key")

    def deviation(self, spec: BackboneSpec, base: BackboneSpec) -> str | None:
        """The first part in which `spec` is no member of this family, seen from `base`."""
        if len(spec.stages) != len(base.stages):
            return "number of stages"
        for name in ("stem", "head"):
            if getattr(spec, name) != getattr(base, name):
                return name
        for index, (stage, like) in enumerate(zip(spec.stages, base.stages, strict=True)):
            where = f"stages[{index}]"
            ours, theirs = (_skeleton(s, self.mlp_ratios == "fixed") for s in (stage, like))
            for key, value in ours.items():
                if value != theirs[key]:
                    return f"{where}.{key}"
            if len(set(stage.block_mixers)) > 1:
                return f"{where}.mixer (timm has one in a stage)"
            mixer = stage.block_mixers[0]
            if not self._has(mixer, self.mixers.get(mixer.name, {})):
                return f"{where}.mixer"
            if self.mlp_ratios == "one" and stage.mlp.ratio != spec.stages[0].mlp.ratio:
                return f"{where}.mlp (timm has one ratio)"
        return None

    def shares(self, mixer: MixerSpec) -> bool:
        """Return whether a mixer can take over weights of this family's under the same names.

        A mixer that lacks a branch of the family's can, as the names of the weights show it.
        """
        fixed = self.mixers.get(mixer.name, {})
        hidden = {key: value for key, value in fixed.items() if key not in _SHOWN_BY_NAMES}
        return self._has(mixer, hidden)

    def _has(self, mixer: MixerSpec, fixed: Mapping[str, Any]) -> bool:
        options = mixer.options
        return mixer.name in self.mixers and all(options.get(key) == fixed[key] for key in fixed)


FAMILIES = (
    TimmFamily(
        name="inception_next",
        bases=("inceptionnext_t",),
        mixers={"inception_dw": {"square_branch": True, "bands": "parallel"}},
        mlp_ratios="any",
        mark=r"token_mixer\.dwconv_hw\.",
        pairs=(
            *_METANEXT,
            (_BLOCK + "token_mixer.dwconv_hw.{rest}", _BLOCK + "mixer.branches.square.{rest}"),
            (_BLOCK + "token_mixer.dwconv_w.{rest}", _BLOCK + "mixer.branches.horizontal.{rest}"),
            (_BLOCK + "token_mixer.dwconv_h.{rest}", _BLOCK + "mixer.branches.vertical.{rest}"),
            ("head.fc1.{rest}", "head.hidden.fc.{rest}"),
            ("head.norm.{rest}", "head.hidden.norm.{rest}"),
            ("head.fc2.{rest}", "head.fc.{rest}"),
        ),
    ),
    TimmFamily(
        name="convnext",
        bases=("convnext_t",),
        mixers={"large_kernel_dw": {"convolved_ratio": 1.0}},
        mark=r"\.conv_dw\.",
        with_linear_mlp=frozenset({"large_kernel_dw"}),
        pairs=(*_METANEXT, (_BLOCK + "conv_dw.{rest}", _BLOCK + "mixer.conv.{rest}")),
    ),
    TimmFamily(
        name="resnet",
        bases=("resnet50",),
        mixers={"conv": {"kernel_size": 3, "groups": 1, "bias": False}},
        mark=r"(?m)^layer1\.0\.conv1\.",
        pairs=(
            *((_FIRST + timm_key, _RESIDUAL + our_key) for timm_key, our_key in _RESNET_BLOCK),
            *((_LATER + timm_key, _BLOCK + our_key) for timm_key, our_key in _RESNET_BLOCK),
            (_FIRST + "conv2.{rest}", _RESIDUAL + "mixer.{rest}"),
            (_LATER + "conv2.{rest}", _BLOCK + "mixer.conv.{rest}"),
            (_FIRST + "downsample.0.{rest}", _RESIDUAL + "shortcut.conv.{rest}"),
            (_FIRST + "downsample.1.{rest}", _RESIDUAL + "shortcut.norm.{rest}"),
            ("conv1.{rest}", "stem.conv.{rest}"),
            ("bn1.{rest}", "stem.norm.{rest}"),
            ("fc.{rest}", "head.fc.{rest}"),
        ),
    ),
    TimmFamily(
        name="metaformer",
        bases=("convformer_s18",),
        mixers=_METAFORMER_MIXERS,
        mark=r"head\.fc\.fc1\.",
        with_linear_mlp=frozenset({"attention"}),
        pairs=(
            *_METAFORMER,
            ("head.fc.fc1.{rest}", "head.hidden.fc.{rest}"),
            ("head.fc.norm.{rest}", "head.hidden.norm.{rest}"),
            ("head.fc.fc2.{rest}", "head.fc.{rest}"),
        ),
    ),
    TimmFamily(
        name="metaformer with a linear head",
        bases=("poolformer_s12", "poolformerv2_s12"),
        mixers=_METAFORMER_MIXERS,
        mark=r"\.(layer|res)_scale1\.scale",
        with_linear_mlp=frozenset({"attention"}),
        pairs=_METAFORMER,
    ),
    TimmFamily(
        name="swin_transformer",
        bases=("swin_t",),
        mixers={"window_attention": {"head_width": 32, "shifted": "auto", "qkv_bias": True}},
        mlp_ratios="one",
        mark=r"\.attn\.relative_position_bias_table",
        with_linear_mlp=frozenset({"window_attention"}),
        pairs=(
            ("patch_embed.proj.{rest}", "stem.conv.{rest}"),
            ("patch_embed.norm.{rest}", "stem.norm.{rest}"),
            (_LAYER + "attn.relative_position_bias_table", _BLOCK + "mixer.position_bias"),
            (_LAYER + "attn.proj.{rest}", _BLOCK + "mixer.project.{rest}"),
            (_LAYER + "attn.{rest}", _BLOCK + "mixer.{rest}"),
            ("layers.{rest}", "stages.{rest}"),
        ),
    ),
    TimmFamily(
        name="focalnet",
        bases=("focalnet_t",),
        mixers={"focal_modulation": {}},
        mlp_ratios="one",
        mark=r"\.modulation\.",
        pairs=(
            ("stem.proj.{rest}", "stem.conv.{rest}"),
            ("layers.{i}.downsample.proj.{rest}", "stages.{i}.downsample.conv.{rest}"),
            (_LAYER + "modulation.f.{rest}", _BLOCK + "mixer.query_context_gates.{rest}"),
            (_LAYER + "modulation.h.{rest}", _BLOCK + "mixer.modulator.{rest}"),
            (_LAYER + "modulation.proj.{rest}", _BLOCK + "mixer.project.{rest}"),
            (_LAYER + "modulation.focal_layers.{k}.0.{rest}", _BLOCK + "mixer.levels.{k}.{rest}"),
            ("layers.{rest}", "stages.{rest}"),
        ),
    ),
)


def family_of(spec: BackboneSpec) -> TimmFamily:
    """The family that has `spec`, its mixers' options stated; ValueError if timm has none."""
    deviations: dict[str, str] = {}
    for family in FAMILIES:
        for name in family.bases:
            deviation = family.deviation(spec, _base(name))
            if deviation is None:
                return family
            deviations[name] = deviation
    nearest = max(deviations, key=lambda name: _agreement(deviations[name]))
    raise ValueError(
        f"{spec.name}: timm has no model of this architecture; the nearest is {nearest}, "
        f"which differs in {deviations[nearest]}"
    )


def _agreement(deviation: str) -> tuple[int, int]:
    """Rank of two families that first differ there: the part, the stage."""
    part, _, rest = deviation.partition("[")
    return _COMPARED.index(part), int(rest.partition("]")[0] or 0)


def family_of_weights(keys: Iterable[str]) -> TimmFamily | None:
    """The family whose weights have these names; None for names that are none of timm's."""
    joined = "\n".join(keys)
    return next((family for family in FAMILIES if re.search(family.mark, joined)), None)


@cache
def _base(name: str) -> BackboneSpec:
    return load_spec(name, installed_mixers())


def _skeleton(stage: StageSpec, with_mlp_ratio: bool) -> dict[str, Any]:
    """Fields of a stage that a family fixes: all but size, mixer, kind of MLP and initial
    scales."""
    data = stage.model_dump(mode="json", exclude={"depth", "width", "mixer"})
    del data["mlp"]["kind"]
    if not with_mlp_ratio:
        del data["mlp"]["ratio"]
    for scale in ("layer_scale", "residual_scale"):
        data[scale] = data[scale] is not None
    return data
