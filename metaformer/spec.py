"""A backbone as data: frozen, validated, hashable, with a stable digest.

Tensors are (B, C, H, W) throughout; sizes are in pixels or positions, ratios in multiples of
the width. Every field's range is the range that the YAML file may use.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_serializer, field_validator, model_validator

from metaformer.errors import FieldError, shorten
from metaformer.spec_parts import (
    Activation,
    DownsampleSpec,
    MlpSpec,
    NormSpec,
    Ratio,
    SpecPart,
    StemSpec,
    Width,
    as_default,
)
from mixers import MixerSpec

MAX_DEPTH = 1024  # blocks in all stages
MAX_IMAGE_SIZE = 8192
OF_MLP_HEADS = ("ratio", "activation", "hidden_norm", "pre_logits")

_NAME = "letters, digits, _ . and -, beginning with a letter, up to 100 characters"
_Rate = Annotated[float, Field(strict=True, ge=0, lt=1)]
_Scale = Annotated[float, Field(strict=True, gt=0, le=100)]


def _integer(value: Any) -> Any:
    if type(value) is not int:  # true and 1.0 equal 1
        raise ValueError(f"got {shorten(value)}; allowed: 1")
    return value


SchemaVersion = Annotated[Literal[1], BeforeValidator(_integer)]


def _require_hidden(path: tuple[str, ...], ratio: float, width: int) -> None:
    if int(ratio * width) < 1:
        words = f"got {ratio:g}, which leaves none of {width} channels; allowed: {1 / width:g} up"
        raise FieldError(path, words)


class StageSpec(SpecPart):
    """Blocks of one width at one resolution.

    `mixer` is a pattern over the blocks, repeated and cut at `depth`. `activations` says where
    metanext and bottleneck blocks have one: in the MLP, or all: behind each norm but the last, and
    behind the sum. `layer_scale` and `residual_scale` are initial values of learned scales per
    channel, on the branch and on the shortcut; None leaves them out.
    """

    depth: Annotated[int, Field(strict=True, ge=1, le=512)]
    width: Width
    downsample: DownsampleSpec | None = None
    block: Literal["metanext", "metaformer", "bottleneck"]
    mixer: Annotated[tuple[MixerSpec, ...], Field(min_length=1)]
    mlp: MlpSpec = MlpSpec()
    norm: NormSpec
    activations: Literal["mlp", "all"] = "mlp"
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
        if self.residual_scale is not None and self.block != "metaformer":
            words = f"belongs to metaformer blocks; {self.block} has none"
            raise FieldError(("residual_scale",), words)
        if self.block == "metaformer":
            if self.activations == "all":
                words = "got all; allowed: mlp, as metaformer blocks have no others"
                raise FieldError(("activations",), words)
            if self.downsample is not None and self.downsample.kind == "residual":
                words = "got residual; allowed in metaformer blocks: conv, patch_merging"
                raise FieldError(("downsample", "kind"), words)
        _require_hidden(("mlp", "ratio"), self.mlp.ratio, self.width)
        return self

    @property
    def num_blocks(self) -> int:
        """`depth`, and one more if the downsample is a block."""
        residual = self.downsample is not None and self.downsample.kind == "residual"
        return self.depth + residual

    @property
    def hidden_width(self) -> int:
        """Channels between the two layers of the MLP."""
        return int(self.mlp.ratio * self.width)

    @property
    def mixer_width(self) -> int:
        """Channels that the mixers see: those of the stage, or of a bottleneck's inside."""
        return self.hidden_width if self.block == "bottleneck" else self.width

    @property
    def block_mixers(self) -> tuple[MixerSpec, ...]:
        """One mixer a block."""
        return tuple(self.mixer[block % len(self.mixer)] for block in range(self.depth))


def mixer_path(stage: int, place: int, spec: StageSpec) -> str:
    """Path of the mixer at `place` in the pattern of a stage, as in `stages[1].mixer[0]`."""
    return f"stages[{stage}].mixer" + (f"[{place}]" if len(spec.mixer) > 1 else "")


def _mixer_as_read(item: Any) -> Any:
    """`name` and `{name: options}` as a MixerSpec; anything else is left to pydantic."""
    if isinstance(item, str):
        return MixerSpec(item)
    if isinstance(item, dict) and len(item) == 1:
        name, options = next(iter(item.items()))
        return MixerSpec.of(name, options) if isinstance(options, dict) else item
    return item


class HeadSpec(SpecPart):
    """Global average pooling and the classifier.

    `norm` stands before or after the pooling. `mlp` adds a hidden layer of `ratio` times the
    width with `activation` and `hidden_norm`; a linear head has them at their defaults only.
    `pre_logits` is what stands in front of the classifier proper: the hidden layer's output, or
    what was pooled, the hidden layer then being part of the classifier.
    """

    kind: Literal["linear", "mlp"] = "linear"
    norm: NormSpec = NormSpec(kind="none")
    norm_position: Literal["before_pool", "after_pool"] = "after_pool"
    ratio: Ratio = 4.0
    activation: Activation = "gelu"
    hidden_norm: NormSpec = NormSpec(kind="none")
    pre_logits: Literal["hidden", "pooled"] = "hidden"

    @model_validator(mode="after")
    def _one_writing_for_one_head(self) -> HeadSpec:
        for field in OF_MLP_HEADS if self.kind == "linear" else ():
            if getattr(self, field) != HeadSpec.model_fields[field].default:
                raise FieldError((field,), "belongs to an mlp head; got kind linear")
        if self.norm.kind == "none":
            as_default(self, "norm_position")
        return self


class BackboneSpec(SpecPart):
    """A whole backbone. `image_size` is the size it is built for if none is asked for."""

    schema_version: Annotated[SchemaVersion, Field(alias="schema")] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$", description=_NAME)]
    num_classes: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 1000
    in_channels: Annotated[int, Field(strict=True, ge=1, le=1024)] = 3
    image_size: Annotated[int, Field(strict=True, ge=4, le=MAX_IMAGE_SIZE)] = 224
    drop_rate: _Rate = 0.0
    drop_path_rate: _Rate = 0.0
    stem: StemSpec
    stages: Annotated[tuple[StageSpec, ...], Field(min_length=1, max_length=16)]
    head: HeadSpec = HeadSpec()

    @model_validator(mode="after")
    def _parts_go_together(self) -> BackboneSpec:
        widths = [stage.width for stage in self.stages]
        if self.stem.width == widths[0]:  # one writing for one network
            object.__setattr__(self, "stem", self.stem.model_copy(update={"width": None}))
        before = [self.stem_width, *widths]
        for index, stage in enumerate(self.stages):
            if stage.downsample is None and stage.width != before[index]:
                raise FieldError(
                    ("stages", index, "width"),
                    f"got {stage.width} after {before[index]}; "
                    "without a downsample between them the two have one width",
                )
        depth = sum(stage.depth for stage in self.stages)
        if depth > MAX_DEPTH:
            words = f"got {depth} blocks in all; allowed: {MAX_DEPTH}"
            raise FieldError(("stages",), words)
        if self.head.kind == "mlp":
            _require_hidden(("head", "ratio"), self.head.ratio, widths[-1])
        return self

    @property
    def stem_width(self) -> int:
        """Channels of the stem's map."""
        return self.stages[0].width if self.stem.width is None else self.stem.width

    def to_data(self) -> dict[str, Any]:
        """The spec as a YAML file holds it, complete, nothing left to defaults."""
        return self.model_dump(mode="json", by_alias=True)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits, equal for specs that build the same network.

        The name does not count; a pattern counts as the mixers of its blocks; a field at its
        default does not count, so that fields to come leave it as it is. The mixers' options must
        be stated, as `load_spec` and `resolve_mixers` leave them.
        """
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        del data["name"]
        for stage, written in zip(self.stages, data["stages"], strict=True):
            written["mixer"] = [[mixer.name, mixer.options] for mixer in stage.block_mixers]
        text = json.dumps(data, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
