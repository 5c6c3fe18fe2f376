"""Stem, downsampling, MLP, norms and head, over timm.layers. Maps are (B, C, H, W)."""

from __future__ import annotations

from functools import partial

from timm.layers import GroupNorm1, LayerNorm2d, SelectAdaptivePool2d
from torch import Tensor, nn
from torch.nn import functional as F

from metaformer.spec import DownsampleSpec, HeadSpec, MlpSpec, NormSpec, StemSpec
from mixers.activations import SquaredReLU, StarReLU
from mixers.initialization import initialise_projections
from mixers.pointwise import pointwise

_ACTIVATIONS: dict[str, type[nn.Module]] = {
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


class Stem(nn.Module):
    """(B, in_channels, H, W) -> (B, width, H', W'): convolution, then norm."""

    def __init__(self, spec: StemSpec, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, spec.kernel_size, spec.stride, spec.padding)
        self.norm = build_norm(spec.norm, width)
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Downsample(nn.Module):
    """(B, C, H, W) -> (B, width, H', W'): norm, then convolution."""

    def __init__(self, spec: DownsampleSpec, channels: int, width: int) -> None:
        super().__init__()
        self.norm = build_norm(spec.norm, channels)
        self.conv = nn.Conv2d(channels, width, spec.kernel_size, spec.stride, spec.padding)
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


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


def downsampled_size(spec: DownsampleSpec | StemSpec, size: int) -> int:
    """The side of the map that comes out of a side of `size` positions."""
    if isinstance(spec, DownsampleSpec) and spec.kind == "patch_merging":
        return (size + 1) // 2
    return (size + 2 * spec.padding - spec.kernel_size) // spec.stride + 1


def build_downsample(spec: DownsampleSpec | None, channels: int, width: int) -> nn.Module:
    if spec is None:
        return nn.Identity()
    kind = PatchMerging if spec.kind == "patch_merging" else Downsample
    return kind(spec, channels, width)


class ChannelMlp(nn.Module):
    """(B, C, H, W) -> (B, C, H, W): an MLP over channels, by 1×1 convolution or linear layers."""

    def __init__(self, spec: MlpSpec, channels: int) -> None:
        super().__init__()
        hidden = int(spec.ratio * channels)
        layer = nn.Linear if spec.kind == "linear" else partial(nn.Conv2d, kernel_size=1)
        self.fc1 = layer(channels, hidden, bias=spec.bias)
        self.act = _ACTIVATIONS[spec.activation]()
        self.fc2 = layer(hidden, channels, bias=spec.bias)
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.fc1, nn.Conv2d) and isinstance(self.fc2, nn.Conv2d):
            return pointwise(self.fc2, self.act(pointwise(self.fc1, x)))
        x = self.fc2(self.act(self.fc1(x.permute(0, 2, 3, 1))))
        return x.permute(0, 3, 1, 2)


class Head(nn.Module):
    """(B, C, H, W) -> (B, num_classes): global average pooling and the classifier.

    `num_features` is the width in front of the classifier itself.
    """

    def __init__(self, spec: HeadSpec, channels: int, num_classes: int, drop_rate: float) -> None:
        super().__init__()
        norm = partial(build_norm, spec.norm)
        self.pool = SelectAdaptivePool2d(pool_type="avg")
        self.norm = norm(channels) if spec.norm_position == "after_pool" else nn.Identity()
        self.flatten = nn.Flatten(1)
        self.hidden = HiddenLayer(spec, channels) if spec.kind == "mlp" else nn.Identity()
        self.num_features = int(spec.ratio * channels) if spec.kind == "mlp" else channels
        self.drop = nn.Dropout(drop_rate)
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        initialise_projections(self)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.drop(self.hidden(self.flatten(self.norm(self.pool(x)))))
        return x if pre_logits else self.fc(x)


class HiddenLayer(nn.Module):
    """(B, C) -> (B, ratio · C): the hidden layer of an MLP head."""

    def __init__(self, spec: HeadSpec, channels: int) -> None:
        super().__init__()
        hidden = int(spec.ratio * channels)
        self.fc = nn.Linear(channels, hidden)
        self.activation = _ACTIVATIONS[spec.activation]()
        self.norm = build_norm(spec.hidden_norm, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.fc(x))
        return self.norm(x[:, :, None, None]).flatten(1)
