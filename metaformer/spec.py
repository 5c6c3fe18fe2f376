"""A backbone as data: frozen, validated, hashable, with a stable digest.

Tensors are (B, C, H, W) throughout; sizes are in pixels or positions, ratios in multiples of
the width. Every field's range is the range that the YAML file may use.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_serializer,
    field_validator,
    model_validator,
)

from metaformer.errors import FieldError
from mixers import MixerSpec

NormKind = Literal["batch_norm", "layer_norm", "group_norm", "none"]
Activation = Literal["gelu", "relu", "silu", "star_relu", "squared_relu"]

MAX_DEPTH = 1024  # blocks in all stages
NORM_EPS: dict[str, float] = {"batch_norm": 1e-5, "layer_norm": 1e-6, "group_norm": 1e-5}

_Width = Annotated[int, Field(strict=True, ge=1, le=32768)]
_Kernel = Annotated[int, Field(strict=True, ge=1, le=64)]
_Padding = Annotated[int, Field(strict=True, ge=0, le=32)]
_Ratio = Annotated[float, Field(strict=True, ge=0.125, le=16)]
_Rate = Annotated[float, Field(strict=True, ge=0, lt=1)]
_Scale = Annotated[float, Field(strict=True, gt=0, le=100)]


def _integer(value: Any) -> Any:
    if type(value) is not int:  # true and 1.0 equal 1
        raise ValueError(f"got {value!r}; allowed: 1")
    return value


SchemaVersion = Annotated[Literal[1], BeforeValidator(_integer)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _as_default(part: BaseModel, *fields: str) -> None:
    """Gives fields that say nothing here the value that they have where they are not given."""
    for name in fields:
        object.__setattr__(part, name, type(part).model_fields[name].default)


def _require_hidden(path: tuple[str, ...], ratio: float, width: int) -> None:
    if int(ratio * width) < 1:
        words = f"got {ratio:g}, which leaves none of {width} channels; allowed: {1 / width:g} up"
        raise FieldError(path, words)


class NormSpec(_Part):
    """A normalisation over channels; `layer_norm` sees one position, `group_norm` (one group) all.

    `eps` is the kind's own default where it is not given; `bias` false keeps the weight alone.
    """

    kind: NormKind
    eps: Annotated[float, Field(strict=True, gt=0, lt=1)] | None = None
    bias: Annotated[bool, Field(strict=True)] = True

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"kind": value} if value is None or isinstance(value, str) else value

    @model_validator(mode="after")
    def _fill_eps(self) -> NormSpec:
        eps = None if self.kind == "none" else self.eps or NORM_EPS[self.kind]
        object.__setattr__(self, "eps", eps)
        if self.kind == "none":
            _as_default(self, "bias")
        return self


class StemSpec(_Part):
    """The convolution that turns the image into the first map, and its norm."""

    kernel_size: _Kernel
    stride: _Kernel
    padding: _Padding = 0
    norm: NormSpec = NormSpec(kind="none")


class DownsampleSpec(_Part):
    """What stands between two stages: norm and convolution, or Swin's patch merging.

    `norm_position` is before or after the convolution. Patch merging puts 2×2 neighbours side by
    side, normalises and projects; it takes neither kernel, stride nor padding but those of 2×2.
    """

    kind: Literal["conv", "patch_merging"] = "conv"
    kernel_size: _Kernel = 2
    stride: _Kernel = 2
    padding: _Padding = 0
    norm: NormSpec = NormSpec(kind="none")
    norm_position: Literal["before", "after"] = "before"

    @model_validator(mode="after")
    def _patch_merging_is_2x2(self) -> DownsampleSpec:
        if self.kind == "patch_merging" and (self.kernel_size, self.stride, self.padding) != (
            2,
            2,
            0,
        ):
            raise ValueError(
                "patch_merging takes 2×2 neighbours: kernel_size 2, stride 2, padding 0"
            )
        if self.kind == "patch_merging" and self.norm_position == "after":
            raise ValueError("patch_merging normalises before it projects: norm_position before")
        return self


class MlpSpec(_Part):
    """The channel MLP: two 1×1 convolutions or two linear layers around an activation."""

    kind: Literal["conv", "linear"] = "conv"
    ratio: _Ratio = 4.0
    activation: Activation = "gelu"
    bias: Annotated[bool, Field(strict=True)] = True


class StageSpec(_Part):
    """Blocks of one width at one resolution.

    `mixer` is a pattern over the blocks, repeated and cut at `depth`. `layer_scale` and
    `residual_scale` are initial values of learned scales per channel, on the branch and on the
    shortcut; None leaves them out.
    """

    depth: Annotated[int, Field(strict=True, ge=1, le=512)]
    width: _Width
    downsample: DownsampleSpec | None = None
    block: Literal["metanext", "metaformer"]
    mixer: Annotated[tuple[MixerSpec, ...], Field(min_length=1)]
    mlp: MlpSpec = MlpSpec()
    norm: NormSpec
    layer_scale: _Scale | None = None
    residual_scale: _Scale | None = None

    @field_validator("mixer", mode="before")
    @classmethod
    def _as_pattern(cls, value: Any) -> Any:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(_mixer_as_read(item) for item in items)

    @field_serializer("mixer")
    def _mixer_as_written(self, pattern: tuple[MixerSpec, ...]) -> Any:
        written = [{mixer.name: mixer.options} if mixer.items else mixer.name for mixer in pattern]
        return written[0] if len(written) == 1 else written

    @model_validator(mode="after")
    def _fields_go_together(self) -> StageSpec:
        if self.residual_scale is not None and self.block == "metanext":
            words = "belongs to metaformer blocks; metanext has none"
            raise FieldError(("residual_scale",), words)
        _require_hidden(("mlp", "ratio"), self.mlp.ratio, self.width)
        return self

    @property
    def block_mixers(self) -> tuple[MixerSpec, ...]:
        """One mixer a block."""
        return tuple(self.mixer[block % len(self.mixer)] for block in range(self.depth))


def _mixer_as_read(item: Any) -> Any:
    """`name` and `{name: options}` as a MixerSpec; anything else is left to pydantic."""
    if isinstance(item, str):
        return MixerSpec(item)
    if isinstance(item, dict) and len(item) == 1:
        name, options = next(iter(item.items()))
        return MixerSpec.of(name, options) if isinstance(options, dict) else item
    return item


class HeadSpec(_Part):
    """Global average pooling and the classifier.

    `norm` stands before or after the pooling. `mlp` adds a hidden layer of `ratio` times the
    width with `activation` and `hidden_norm`; these fields say nothing of a linear head.
    `pre_logits` is what stands in front of the classifier proper: the hidden layer's output, or
    what was pooled, the hidden layer then being part of the classifier.
    """

    kind: Literal["linear", "mlp"] = "linear"
    norm: NormSpec = NormSpec(kind="none")
    norm_position: Literal["before_pool", "after_pool"] = "after_pool"
    ratio: _Ratio = 4.0
    activation: Activation = "gelu"
    hidden_norm: NormSpec = NormSpec(kind="none")
    pre_logits: Literal["hidden", "pooled"] = "hidden"

    @model_validator(mode="after")
    def _one_writing_for_one_head(self) -> HeadSpec:
        if self.kind == "linear":
            _as_default(self, "ratio", "activation", "hidden_norm", "pre_logits")
        if self.norm.kind == "none":
            _as_default(self, "norm_position")
        return self


class BackboneSpec(_Part):
    """A whole backbone. `image_size` is the size it is built for where none is asked for."""

    schema_version: Annotated[SchemaVersion, Field(alias="schema")] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$")]
    num_classes: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 1000
    in_channels: Annotated[int, Field(strict=True, ge=1, le=1024)] = 3
    image_size: Annotated[int, Field(strict=True, ge=4, le=8192)] = 224
    drop_rate: _Rate = 0.0
    drop_path_rate: _Rate = 0.0
    stem: StemSpec
    stages: Annotated[tuple[StageSpec, ...], Field(min_length=1, max_length=16)]
    head: HeadSpec = HeadSpec()

    @model_validator(mode="after")
    def _parts_go_together(self) -> BackboneSpec:
        widths = [stage.width for stage in self.stages]
        for index, stage in enumerate(self.stages[1:], start=1):
            if stage.downsample is None and stage.width != widths[index - 1]:
                raise FieldError(
                    ("stages", index, "width"),
                    f"got {stage.width} after {widths[index - 1]}; "
                    "without a downsample between them two stages have one width",
                )
        depth = sum(stage.depth for stage in self.stages)
        if depth > MAX_DEPTH:
            words = f"got {depth} blocks in all; allowed: {MAX_DEPTH}"
            raise FieldError(("stages",), words)
        if self.head.kind == "mlp":
            _require_hidden(("head", "ratio"), self.head.ratio, widths[-1])
        return self

    def to_data(self) -> dict[str, Any]:
        """The spec as a YAML file holds it, complete, nothing left to defaults."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits, equal for specs that build the same network.

        The name does not count; a pattern counts as the mixers of its blocks. The mixers' options
        must be stated, as `load_spec` and `resolve_mixers` leave them.
        """
        data = self.to_data()
        del data["name"]
        for stage, written in zip(self.stages, data["stages"], strict=True):
            written["mixer"] = [[mixer.name, mixer.options] for mixer in stage.block_mixers]
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
