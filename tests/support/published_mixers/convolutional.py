"""Good mixers made of convolutions, gates and shifts."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from mixers import Choice, Site


def _depthwise(channels: int, kernel_size: int, dilation: int = 1) -> nn.Conv2d:
    padding = kernel_size // 2 * dilation
    return nn.Conv2d(
        channels, channels, kernel_size, padding=padding, dilation=dilation, groups=channels
    )


class WeightNormalised(nn.Module):
    """Weight normalisation (Salimans and Kingma 2016, arXiv:1602.07868), eq. 2: w = g v / |v|."""

    def __init__(self, site: Site, *, kernel_size: Annotated[int, Choice(3, 5, 7)] = 5) -> None:
        super().__init__()
        self.receptive_field = (kernel_size, kernel_size)
        self.conv = parametrizations.weight_norm(_depthwise(site.channels, kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class SpectrallyNormalised(nn.Module):
    """Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957), eq. 8, with one step of the
    power iteration a training step."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = parametrizations.spectral_norm(nn.Conv2d(site.channels, site.channels, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Tied(nn.Module):
    """Weights shared by two steps (ALBERT, Lan et al. 2019, arXiv:1909.11942, section 3.1)."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.first = _depthwise(site.channels, 5)
        self.norm = nn.BatchNorm2d(site.channels)
        self.second = _depthwise(site.channels, 5)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(F.gelu(self.norm(self.first(x))))


class ChannelGate(nn.Module):
    """ECA-Net (Wang et al. 2019, arXiv:1910.03151), eq. 6: a convolution of channels' means."""

    def __init__(self, site: Site, *, kernel_size: Annotated[int, Choice(3, 5)] = 3) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.local = _depthwise(site.channels, 3)
        self.gate = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.local(x)
        gate = self.gate(mixed.mean((2, 3)).unsqueeze(1)).squeeze(1)
        return mixed * gate.sigmoid()[:, :, None, None]


class SqueezeExcite(nn.Module):
    """SENet (Hu et al. 2017, arXiv:1709.01507), eq. 2 and 3."""

    def __init__(self, site: Site, *, reduction: Annotated[int, Choice(2, 4, 8)] = 4) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        hidden = site.channels // reduction
        self.local = _depthwise(site.channels, 3)
        self.squeeze = nn.Conv2d(site.channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.local(x)
        return x * self.excite(F.silu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))).sigmoid()


class LargeKernelAttention(nn.Module):
    """VAN (Guo et al. 2022, arXiv:2202.09741), eq. 1 and 2."""

    supports_dilation = True

    def __init__(self, site: Site) -> None:
        super().__init__()
        reach = 2 * (2 + 9) * site.dilation + 1
        self.receptive_field = (reach, reach)
        self.local = _depthwise(site.channels, 5, site.dilation)
        self.spread = _depthwise(site.channels, 7, 3 * site.dilation)
        self.point = nn.Conv2d(site.channels, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.point(self.spread(self.local(x)))


class MultiOrderGating(nn.Module):
    """MogaNet (Li et al. 2022, arXiv:2211.03295), eq. 4 and 5: contexts of three orders, gated."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        channels = site.channels
        self.low, self.middle = channels // 8, channels * 3 // 8
        self.local = _depthwise(channels, 5)
        self.mid = _depthwise(self.middle, 5, 2)
        self.high = _depthwise(channels - self.low - self.middle, 7, 3)
        self.gate = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        local = self.local(x)
        low, middle, high = local.tensor_split((self.low, self.low + self.middle), dim=1)
        context = torch.cat((low, self.mid(middle), self.high(high)), dim=1)
        return self.out(F.silu(self.gate(x)) * F.silu(self.value(context)))


class Involution(nn.Module):
    """Involution (Li et al. 2021, arXiv:2103.06255), eq. 4 to 6: kernels made from their own
    position. The products and sums are no operators that torch counts, so they are stated."""

    def __init__(self, site: Site, *, kernel_size: Annotated[int, Choice(3, 5)] = 3) -> None:
        super().__init__()
        self.receptive_field = (kernel_size, kernel_size)
        self.kernel_size, self.groups = kernel_size, 4
        self.positions = site.channels * site.height * site.width
        self.kernel = nn.Conv2d(site.channels, self.groups * kernel_size**2, 1)

    def macs(self) -> int:
        in_kernels = self.positions * self.kernel.out_channels
        return in_kernels + self.positions * self.kernel_size**2

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        taps = self.kernel_size**2
        kernel = self.kernel(x).reshape(batch, self.groups, 1, taps, height, width)
        patches = F.unfold(x, self.kernel_size, padding=self.kernel_size // 2)
        patches = patches.reshape(batch, self.groups, -1, taps, height, width)
        return (kernel * patches).sum(3).reshape(batch, channels, height, width)


class DynamicConvolution(nn.Module):
    """Dynamic convolution (Chen et al. 2019, arXiv:1912.03458), eq. 2, by mixing the outputs of
    several kernels, which is the same as mixing the kernels."""

    def __init__(self, site: Site, *, kernels: Annotated[int, Choice(2, 4)] = 2) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.weigh = nn.Linear(site.channels, kernels)
        self.convs = nn.ModuleList(_depthwise(site.channels, 3) for _ in range(kernels))

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weigh(x.mean((2, 3))).softmax(1)
        outputs = torch.stack([conv(x) for conv in self.convs], dim=1)
        return (outputs * weights[:, :, None, None, None]).sum(1)


class StripPooling(nn.Module):
    """SPNet (Hou et al. 2020, arXiv:2003.13328), eq. 1 to 4."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.rows = nn.Conv1d(site.channels, site.channels, 3, padding=1)
        self.columns = nn.Conv1d(site.channels, site.channels, 3, padding=1)
        self.gate = nn.Conv2d(site.channels, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.rows(x.mean(3)).unsqueeze(3)
        columns = self.columns(x.mean(2)).unsqueeze(2)
        return x * self.gate(F.relu(rows + columns)).sigmoid()


class PoolingMinusInput(nn.Module):
    """PoolFormer (Yu et al. 2021, arXiv:2111.11418), eq. 4."""

    def __init__(self, site: Site, *, pool_size: Annotated[int, Choice(3, 5)] = 3) -> None:
        super().__init__()
        self.receptive_field = (pool_size, pool_size)
        self.pool = nn.AvgPool2d(pool_size, 1, pool_size // 2, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x) - x


class Shift(nn.Module):
    """ShiftViT (Wang et al. 2022, arXiv:2201.10801), algorithm 1: a twelfth of the channels each
    way, without padding by repetition."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (3, 3)
        self.group = max(1, site.channels // 12)

    def forward(self, x: Tensor) -> Tensor:
        group, (height, width) = self.group, x.shape[2:]
        left, right, up, down, rest = x.split(
            (group, group, group, group, x.shape[1] - 4 * group), dim=1
        )
        return torch.cat(
            (
                F.pad(left, (0, 1))[..., 1 : width + 1],
                F.pad(right, (1, 0))[..., :width],
                F.pad(up, (0, 0, 0, 1))[:, :, 1 : height + 1],
                F.pad(down, (0, 0, 1, 0))[:, :, :height],
                rest,
            ),
            dim=1,
        )


class PartialConvolution(nn.Module):
    """FasterNet (Chen et al. 2023, arXiv:2303.03667), section 3.2: a quarter of the channels is
    convolved, the others pass."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (3, 3)
        self.part = site.channels // 4
        self.conv = nn.Conv2d(self.part, self.part, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.conv(x[:, : self.part]), x[:, self.part :]), dim=1)
