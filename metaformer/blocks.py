"""The block forms, and ResNet's way to make a map smaller. Maps are (B, C, H, W)."""

from __future__ import annotations

from timm.layers import DropPath, LayerScale2d
from torch import Tensor, nn

from metaformer._layers import (
    ChannelMlp,
    Downsample,
    PatchMerging,
    Shortcut,
    build_activation,
    build_norm,
    strided_convolution,
)
from metaformer.spec import StageSpec
from metaformer.spec_parts import DownsampleSpec


def _scale(initial: float | None, channels: int) -> nn.Module:
    return nn.Identity() if initial is None else LayerScale2d(channels, init_values=initial)


def _drop_path(rate: float) -> nn.Module:
    return DropPath(rate) if rate > 0 else nn.Identity()


def _outer_activation(spec: StageSpec, *, inplace: bool) -> nn.Module:
    """An activation that only blocks with all of them have."""
    name = spec.mlp.activation if spec.activations == "all" else None
    return build_activation(name, inplace=inplace)


class OneResidualBlock(nn.Module):
    """act(shortcut(x) + drop_path(scale · branch(x))): what MetaNeXt and bottleneck blocks share.

    The activation behind the sum is there with `activations: all` only. `in_channels` and
    `shortcut` are for a block that changes the map's shape.
    """

    def __init__(
        self,
        spec: StageSpec,
        mixer: nn.Module,
        drop_path_rate: float,
        *,
        in_channels: int | None = None,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        channels = spec.width if in_channels is None else in_channels
        mixed = spec.hidden_width if spec.block == "bottleneck" else channels
        self.mixer = mixer
        self.norm = build_norm(spec.norm, mixed)
        self.act = _outer_activation(spec, inplace=spec.norm.kind != "none")
        self.mlp = ChannelMlp(spec.mlp, channels, spec.width, spec.hidden_width)
        self.layer_scale = _scale(spec.layer_scale, spec.width)
        self.drop_path = _drop_path(drop_path_rate)
        self.shortcut = nn.Identity() if shortcut is None else shortcut
        self.last_act = _outer_activation(spec, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.last_act(self.drop_path(self.layer_scale(self.branch(x))) + self.shortcut(x))

    def branch(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, width, H', W'): what is added to the shortcut."""
        raise AssertionError("each block form has its own")


class MetaNeXtBlock(OneResidualBlock):
    """x + drop_path(scale · mlp(norm(mixer(x)))): one residual, the norm after the mixer.

    (InceptionNeXt, section 3: MetaNeXt.) With all activations one more stands behind the norm.
    """

    def branch(self, x: Tensor) -> Tensor:
        return self.mlp(self.act(self.norm(self.mixer(x))))


class BottleneckBlock(OneResidualBlock):
    """x + drop_path(scale · project(norm(mixer(expand(x))))): the mixer between the MLP's layers.

    ResNet's block (Deep Residual Learning, section 4.1) with all activations, a norm behind each
    layer and an MLP ratio below 1; an inverted bottleneck with a ratio above 1.
    """

    def branch(self, x: Tensor) -> Tensor:
        return self.mlp.project(self.act(self.norm(self.mixer(self.mlp.expand(x)))))


class MetaFormerBlock(nn.Module):
    """Two residuals, each shortcut·x + drop_path(scale · f(norm(x))): the mixer, then the MLP.

    (MetaFormer Baselines, eq. 2 and 3; Swin's block is this one.)
    """

    def __init__(self, spec: StageSpec, mixer: nn.Module, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = build_norm(spec.norm, spec.width)
        self.mixer = mixer
        self.layer_scale1 = _scale(spec.layer_scale, spec.width)
        self.residual_scale1 = _scale(spec.residual_scale, spec.width)
        self.norm2 = build_norm(spec.norm, spec.width)
        self.mlp = ChannelMlp(spec.mlp, spec.width, spec.width, spec.hidden_width)
        self.layer_scale2 = _scale(spec.layer_scale, spec.width)
        self.residual_scale2 = _scale(spec.residual_scale, spec.width)
        self.drop_path = _drop_path(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.drop_path(self.layer_scale1(self.mixer(self.norm1(x))))
        x = self.residual_scale1(x) + mixed
        changed = self.drop_path(self.layer_scale2(self.mlp(self.norm2(x))))
        return self.residual_scale2(x) + changed


BLOCKS: dict[str, type[MetaNeXtBlock] | type[MetaFormerBlock] | type[BottleneckBlock]] = {
    "metanext": MetaNeXtBlock,
    "metaformer": MetaFormerBlock,
    "bottleneck": BottleneckBlock,
}


def build_downsample(
    spec: StageSpec, in_channels: int, dilation: int | None, drop_path_rate: float = 0.0
) -> nn.Module:
    """Build the downsampling before a stage's blocks; with `dilation` it keeps the size of the map.

    `drop_path_rate` is for one that is a block itself.
    """
    downsample = spec.downsample
    if downsample is None:
        return nn.Identity()
    if downsample.kind == "patch_merging":
        return PatchMerging(downsample, in_channels, spec.width)
    if downsample.kind == "residual":
        return _residual_downsample(spec, downsample, in_channels, dilation, drop_path_rate)
    return Downsample(downsample, in_channels, spec.width, dilation)


def _residual_downsample(
    spec: StageSpec,
    downsample: DownsampleSpec,
    in_channels: int,
    dilation: int | None,
    drop_path_rate: float,
) -> nn.Module:
    """A block of the stage with a strided convolution for a mixer, and for a shortcut."""
    inside_bottleneck = spec.block == "bottleneck"
    channels = spec.hidden_width if inside_bottleneck else in_channels
    conv = strided_convolution(downsample, channels, dilation)
    shortcut = Shortcut(downsample, in_channels, spec.width, conv.stride[0])
    block = BottleneckBlock if inside_bottleneck else MetaNeXtBlock
    return block(spec, conv, drop_path_rate, in_channels=in_channels, shortcut=shortcut)
