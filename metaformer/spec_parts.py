"""The parts of a backbone's spec: norm, stem, downsampling, MLP.

Sizes are in pixels or positions, ratios in multiples of the stage's width. Every field's range is
the range that the YAML file may use.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from metaformer.errors import FieldError

NormKind = Literal["batch_norm", "layer_norm", "group_norm", "none"]
Activation = Literal["gelu", "relu", "silu", "star_relu", "squared_relu"]

NORM_EPS: dict[str, float] = {"batch_norm": 1e-5, "layer_norm": 1e-6, "group_norm": 1e-5}

Width = Annotated[int, Field(strict=True, ge=1, le=32768)]
_Kernel = Annotated[int, Field(strict=True, ge=1, le=64)]
_Padding = Annotated[int, Field(strict=True, ge=0, le=32)]
Ratio = Annotated[float, Field(strict=True, ge=0.125, le=16)]


class SpecPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def as_default(part: BaseModel, *fields: str) -> None:
    """Gives fields that say nothing here the value that they have if they are not given."""
    for name in fields:
        object.__setattr__(part, name, type(part).model_fields[name].default)


class NormSpec(SpecPart):
    """A normalisation over channels; `layer_norm` sees one position, `group_norm` (one group) all.

    `eps` is the kind's own default if it is not given; `bias` false keeps the weight alone.
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
            as_default(self, "bias")
        return self


class PoolSpec(SpecPart):
    """Max pooling."""

    kernel_size: _Kernel
    stride: _Kernel
    padding: _Padding = 0

    @model_validator(mode="after")
    def _window_holds_a_position(self) -> PoolSpec:
        if self.padding > self.kernel_size // 2:
            words = f"got {self.padding}; allowed: up to half of kernel_size, {self.kernel_size}"
            raise FieldError(("padding",), words)
        return self


class StemSpec(SpecPart):
    """Stem from the image to the first map: a convolution, norm, activation, max pooling.

    `width` is that of the first stage if it is not given.
    """

    kernel_size: _Kernel
    stride: _Kernel
    padding: _Padding = 0
    width: Width | None = None
    bias: Annotated[bool, Field(strict=True)] = True
    norm: NormSpec = NormSpec(kind="none")
    activation: Activation | None = None
    max_pool: PoolSpec | None = None

    @property
    def reduction(self) -> int:
        """Pixels of the image's side for one position of the map."""
        return self.stride * (self.max_pool.stride if self.max_pool is not None else 1)


class DownsampleSpec(SpecPart):
    """Downsampling before a stage: norm and convolution, Swin's patch merging, or ResNet's block.

    `norm_position` is before or after the convolution. Patch merging puts 2×2 neighbours side by
    side, normalises and projects; it takes neither kernel, stride nor padding but those of 2×2.
    `residual` is a block of the stage that a strided convolution (`depthwise` or full) makes
    smaller in the place of the mixer, and a strided 1×1 convolution with `norm` on its shortcut;
    it counts next to the stage's `depth`.
    """

    kind: Literal["conv", "patch_merging", "residual"] = "conv"
    kernel_size: _Kernel = 2
    stride: _Kernel = 2
    padding: _Padding = 0
    depthwise: Annotated[bool, Field(strict=True)] = False
    bias: Annotated[bool, Field(strict=True)] = True
    norm: NormSpec = NormSpec(kind="none")
    norm_position: Literal["before", "after"] = "before"

    @model_validator(mode="after")
    def _fields_are_the_kinds(self) -> DownsampleSpec:
        if self.kind == "patch_merging":
            for field, only in (("kernel_size", 2), ("stride", 2), ("padding", 0)):
                if getattr(self, field) != only:
                    words = f"got {getattr(self, field)}; allowed in patch_merging: {only}"
                    raise FieldError((field,), f"{words}, as it takes 2×2 neighbours")
            if self.norm_position == "after":
                words = "got after; allowed in patch_merging: before, as it normalises first"
                raise FieldError(("norm_position",), words)
            object.__setattr__(self, "bias", False)  # its projection has none
        if self.kind == "residual":
            as_default(self, "norm_position")
            if self.kernel_size % 2 == 0:
                words = f"got {self.kernel_size}; allowed in a residual downsample: odd sizes"
                raise FieldError(("kernel_size",), words)
            if self.padding != self.kernel_size // 2:
                words = f"got {self.padding}; allowed in a residual downsample with kernels of "
                words += f"{self.kernel_size}: {self.kernel_size // 2}, so that the shortcut fits"
                raise FieldError(("padding",), words)
        elif self.depthwise:
            words = f"belongs to residual; {self.kind} changes the number of channels"
            raise FieldError(("depthwise",), words)
        return self


class MlpSpec(SpecPart):
    """The channel MLP: two 1×1 convolutions or two linear layers around an activation.

    `ratio` is the hidden width in multiples of the stage's. `gated` doubles the first layer: one
    half, through the activation, multiplies the other (GLU Variants Improve Transformer, eq. 5).
    `norm` stands behind each of the two layers.
    """

    kind: Literal["conv", "linear"] = "conv"
    ratio: Ratio = 4.0
    activation: Activation = "gelu"
    gated: Annotated[bool, Field(strict=True)] = False
    bias: Annotated[bool, Field(strict=True)] = True
    norm: NormSpec = NormSpec(kind="none")
