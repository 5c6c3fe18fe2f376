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
    ConfigDict,
    Field,
    field_serializer,
    field_validator,
    model_validator,
)

from mixers import MixerSpec

NormKind = Literal["batch_norm", "layer_norm", "group_norm", "none"]
Activation = Literal["gelu", "relu", "silu", "star_relu", "squared_relu"]

NORM_EPS: dict[str, float] = {"batch_norm": 1e-5, "layer_norm": 1e-6, "group_norm": 1e-5}

_Width = Annotated[int, Field(strict=True, ge=1, le=32768)]
_Kernel = Annotated[int, Field(strict=True, ge=1, le=64)]
_Padding = Annotated[int, Field(strict=True, ge=0, le=32)]
_Ratio = Annotated[float, Field(strict=True, ge=0.125, le=16)]
_Rate = Annotated[float, Field(strict=True, ge=0, lt=1)]
_Scale = Annotated[float, Field(strict=True, gt=0, le=100)]


class _Part(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )


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
        return self


class StemSpec(_Part):
    """The convolution that turns the image into the first map, and its norm."""

    kernel_size: _Kernel
    stride: _Kernel
    padding: _Padding = 0
    norm: NormSpec = NormSpec(kind="none")


class DownsampleSpec(_Part):
    """What stands between two stages: norm and convolution, or Swin's patch merging.

    Patch merging puts 2×2 neighbours side by side, normalises and projects; it takes neither
    kernel, stride nor padding but those of 2×2.
    """

    kind: Literal["conv", "patch_merging"] = "conv"
    kernel_size: _Kernel = 2
    stride: _Kernel = 2
    padding: _Padding = 0
    norm: NormSpec = NormSpec(kind="none")

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
    def _residual_scale_has_a_place(self) -> StageSpec:
        if self.residual_scale is not None and self.block == "metanext":
            raise ValueError("residual_scale belongs to metaformer blocks; metanext has none")
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
    width with `activation` and `hidden_norm`.
    """

    kind: Literal["linear", "mlp"] = "linear"
    norm: NormSpec = NormSpec(kind="none")
    norm_position: Literal["before_pool", "after_pool"] = "after_pool"
    ratio: _Ratio = 4.0
    activation: Activation = "gelu"
    hidden_norm: NormSpec = NormSpec(kind="none")


class BackboneSpec(_Part):
    """A whole backbone. `image_size` is the size it is built for where none is asked for."""

    schema_version: Annotated[Literal[1], Field(alias="schema")] = 1
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
    def _widths_meet(self) -> BackboneSpec:
        widths = [stage.width for stage in self.stages]
        for index, stage in enumerate(self.stages[1:], start=1):
            if stage.downsample is None and stage.width != widths[index - 1]:
                raise ValueError(
                    f"stages[{index}].width: got {stage.width} after {widths[index - 1]}; "
                    "without a downsample between them two stages have one width"
                )
        return self

    def to_data(self) -> dict[str, Any]:
        """The spec as a YAML file holds it, complete, nothing left to defaults."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits, equal for specs that build the same network.

        The name does not count; a pattern counts as the mixers of its blocks.
        """
        data = self.to_data()
        del data["name"]
        for stage, written in zip(self.stages, data["stages"], strict=True):
            written["mixer"] = [[mixer.name, mixer.options] for mixer in stage.block_mixers]
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
