"""Stem, downsampling, MLP and norms, over timm.layers. Maps are (B, C, H, W)."""

from __future__ import annotations

from timm.layers import GroupNorm1, LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from metaformer.spec_parts import DownsampleSpec, MlpSpec, NormSpec, PoolSpec, StemSpec
from mixers.activations import SquaredReLU, StarReLU
from mixers.initialization import initialise_projections
from mixers.pointwise import Pointwise

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "star_relu": StarReLU,
    "squared_relu": SquaredReLU,
}


def build_norm(spec: NormSpec, channels: int) -> nn.Module:
    """A norm over the channels of a map."""
    if spec.kind == "none":
        return nn.Identity()
    kinds = {"batch_norm": nn.BatchNorm2d, "layer_norm": LayerNorm2d, "group_norm": GroupNorm1}
    norm: nn.Module = kinds[spec.kind](channels, eps=spec.eps)
    if not spec.bias:
        norm.register_parameter("bias", None)
    return norm


def build_activation(name: str | None, *, inplace: bool = False) -> nn.Module:
    """The activation of that name, none for None.

    `inplace` allows it to overwrite its input, if nobody else needs that.
    """
    if name is None:
        return nn.Identity()
    if inplace and name in ("relu", "silu"):
        return ACTIVATIONS[name](inplace=True)
    return ACTIVATIONS[name]()


class Stem(nn.Module):
    """(B, in_channels, H, W) -> (B, width, H', W'): convolution, norm, activation, pooling."""

    def __init__(self, spec: StemSpec, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, width, spec.kernel_size, spec.stride, spec.padding, bias=spec.bias
        )
        self.norm = build_norm(spec.norm, width)
        self.act = build_activation(spec.activation, inplace=True)
        pool = spec.max_pool
        self.pool = (
            nn.Identity()
            if pool is None
            else nn.MaxPool2d(pool.kernel_size, pool.stride, pool.padding)
        )
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.act(self.norm(self.conv(x))))


class Downsample(nn.Module):
    """(B, C, H, W) -> (B, width, H', W'): norm, then convolution; or the other way round.

    With `dilation`, for a smaller output stride, the convolution keeps the size of the map: it
    has no stride, and is padded at the end rather than at the beginning if the two differ.
    """

    def __init__(
        self, spec: DownsampleSpec, channels: int, width: int, dilation: int | None = None
    ) -> None:
        super().__init__()
        self.norm_first = spec.norm_position == "before"
        self.norm = build_norm(spec.norm, channels if self.norm_first else width)
        stride, padding = (spec.stride, spec.padding) if dilation is None else (1, 0)
        self.conv = nn.Conv2d(
            channels,
            width,
            spec.kernel_size,
            stride,
            padding,
            dilation=dilation or 1,
            bias=spec.bias,
        )
        lost = 0 if dilation is None else dilation * (spec.kernel_size - 1)
        self.pad = (lost // 2, lost - lost // 2, lost // 2, lost - lost // 2)
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        if self.norm_first:
            x = self.norm(x)
        if self.pad[1] > 0:
            x = F.pad(x, self.pad)
        x = self.conv(x)
        return x if self.norm_first else self.norm(x)


class PatchMerging(nn.Module):
    """(B, C, H, W) -> (B, width, ⌈H/2⌉, ⌈W/2⌉): Swin's merging of 2×2 neighbours.

    Neighbours come in the order (0, 0), (1, 0), (0, 1), (1, 1) of row and column; odd maps are
    padded with zeros.
    """

    def __init__(self, spec: DownsampleSpec, channels: int, width: int) -> None:
        super().__init__()
        self.norm = build_norm(spec.norm, 4 * channels)
        self.reduction = nn.Linear(4 * channels, width, bias=False)
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        if height % 2 or width % 2:
            x = F.pad(x, (0, width % 2, 0, height % 2))
        x = x.permute(0, 2, 3, 1)
        x = x.reshape(batch, x.shape[1] // 2, 2, x.shape[2] // 2, 2, channels)
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3)
        x = self.norm(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.reduction(x).permute(0, 3, 1, 2)


class Shortcut(nn.Module):
    """(B, C, H, W) -> (B, width, H', W'): a strided 1×1 convolution, then norm."""

    def __init__(self, spec: DownsampleSpec, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 1, stride, bias=spec.bias)
        self.norm = build_norm(spec.norm, width)
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


def strided_convolution(spec: DownsampleSpec, channels: int, dilation: int | None) -> nn.Conv2d:
    """(B, C, H, W) -> (B, C, H', W'): what stands in the place of a residual downsample's mixer.

    With `dilation` it keeps the size of the map.
    """
    stride, padding = spec.stride, spec.padding
    if dilation is not None:
        stride, padding = 1, dilation * (spec.kernel_size - 1) // 2
    conv = nn.Conv2d(
        channels,
        channels,
        spec.kernel_size,
        stride,
        padding,
        dilation=dilation or 1,
        groups=channels if spec.depthwise else 1,
        bias=spec.bias,
    )
    initialise_projections(conv)
    return conv


def map_size_after(spec: DownsampleSpec | StemSpec | PoolSpec, size: int) -> int:
    """The side of the map that comes out of a side of `size` positions; below 1 none does."""
    if isinstance(spec, DownsampleSpec) and spec.kind == "patch_merging":
        return (size + 1) // 2
    size = (size + 2 * spec.padding - spec.kernel_size) // spec.stride + 1
    if isinstance(spec, StemSpec) and spec.max_pool is not None and size > 0:
        return map_size_after(spec.max_pool, size)
    return size


class ChannelLinear(nn.Linear):
    """(B, C, H, W) -> (B, C', H, W): a linear layer over channels, on the map's last axis."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


class ChannelMlp(nn.Module):
    """(B, C, H, W) -> (B, width, H, W): an MLP over channels, by 1×1 convolution or linear layers.

    `expand` and `project` are its two halves, for a block that has its mixer between them.
    """

    def __init__(self, spec: MlpSpec, channels: int, width: int, hidden: int) -> None:
        super().__init__()
        self.gated = spec.gated
        expanded = 2 * hidden if spec.gated else hidden
        layer = ChannelLinear if spec.kind == "linear" else Pointwise
        self.fc1 = layer(channels, expanded, bias=spec.bias)
        self.norm1 = build_norm(spec.norm, expanded)
        self.act = build_activation(spec.activation, inplace=not spec.gated)
        self.fc2 = layer(hidden, width, bias=spec.bias)
        self.norm2 = build_norm(spec.norm, width)
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.expand(x))

    def expand(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, hidden, H, W): first layer, norm, activation."""
        x = self.norm1(self.fc1(x))
        if self.gated:
            gate, value = x.chunk(2, dim=1)
            return self.act(gate) * value
        return self.act(x)

    def project(self, x: Tensor) -> Tensor:
        """(B, hidden, H, W) -> (B, width, H, W): second layer, norm."""
        return self.norm2(self.fc2(x))
