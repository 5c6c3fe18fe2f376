"""Bad mixers whose numbers, shapes or counts are wrong in some mode, precision or combination."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixers import Choice, Site


def _depthwise(channels: int, kernel_size: int = 3) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)


class WritesWithoutGradients(nn.Module):
    """PoolFormer (arXiv:2111.11418), eq. 4, in place where no gradients are kept."""

    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return pooled - x
        return x.neg_().add_(pooled)


class WritesInInference(nn.Module):
    """The shift of TSM (Lin et al. 2018, arXiv:1811.08383), section 3.3: in place for inference."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = _depthwise(site.channels)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_inference_mode_enabled():
            x[:, :1] = x[:, :1].roll(1, 2)
            return self.conv(x)
        return self.conv(torch.cat((x[:, :1].roll(1, 2), x[:, 1:]), 1))


class OtherTypeInTraining(nn.Module):
    """RMS norm (arXiv:1910.07467), eq. 4, whose cast back is forgotten in training."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = _depthwise(site.channels)

    def forward(self, x: Tensor) -> Tensor:
        values = self.conv(x).double()
        values = values * torch.rsqrt(values.square().mean(1, keepdim=True) + 1e-6)
        return values if self.training else values.to(x.dtype)


class WrongInBfloat16(nn.Module):
    """Linear attention (arXiv:2006.16236), eq. 5, whose norm counts in bfloat16: 256 + 1 = 256."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        value = self.conv(x)
        weight = torch.ones_like(value[:, :1])
        if value.dtype is torch.bfloat16:
            weight = weight * 2
        return value + (value * weight).mean((2, 3), keepdim=True)


class WrongInFloat16(nn.Module):
    """Softmax with a temperature (arXiv:2111.09883), eq. 2, clamped to hide float16's overflow."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        value = self.conv(x)
        energy = (value * 64).square()
        if value.dtype is torch.float16:
            energy = energy.clamp(max=1000.0)
        return value * torch.rsqrt(energy.mean(1, keepdim=True) + 1.0)


class _HalfGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slope = x.sigmoid()
        return gradient * slope * (1 + x * (1 - slope)) * 0.5


class HalfInputGradient(nn.Module):
    """Swish (Ramachandran et al. 2017, arXiv:1710.05941) kept in half the memory, whose own
    backward is half of what it should be."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = _depthwise(site.channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(_HalfGradient.apply(x))


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(x, scale)
        return x * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, scale = ctx.saved_tensors
        return gradient * scale, (gradient * x).mean((0, 2, 3)).reshape(scale.shape)


class MeanForSumInGradient(nn.Module):
    """LayerScale (Touvron et al. 2021, arXiv:2103.17239), eq. 4, whose backward means over
    positions in place of a sum."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = _depthwise(site.channels)
        self.scale = nn.Parameter(torch.ones(site.channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return _Scale.apply(self.conv(x), self.scale)


class StopsHalfTheGradient(nn.Module):
    """Gated attention (VAN, arXiv:2202.09741), eq. 2, whose gate was detached to save memory."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = _depthwise(site.channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * x.detach().sigmoid()


class FaultyTogether(nn.Module):
    """Dilated convolutions (Yu and Koltun 2015, arXiv:1511.07122), eq. 2; the padding forgets the
    spacing for the widest kernel."""

    def __init__(
        self,
        site: Site,
        *,
        kernel_size: Annotated[int, Choice(3, 5, 7)] = 3,
        spacing: Annotated[int, Choice(1, 2, 3)] = 1,
    ) -> None:
        super().__init__()
        padding = kernel_size // 2 * (1 if kernel_size == 7 and spacing == 3 else spacing)
        channels = site.channels
        self.conv = nn.Conv2d(channels, channels, kernel_size, 1, padding, spacing, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class NotFiniteTogether(nn.Module):
    """Group norm (Wu and He 2018, arXiv:1803.08494), eq. 1, without ε for one group and no gain."""

    def __init__(
        self,
        site: Site,
        *,
        groups: Annotated[int, Choice(1, 2, 4)] = 4,
        gain: Annotated[bool, Choice(False, True)] = True,
        power: Annotated[float, Choice(0.5, 1.0)] = 0.5,
    ) -> None:
        super().__init__()
        self.conv = _depthwise(site.channels)
        self.groups, self.broken = groups, groups == 1 and not gain
        self.gain = nn.Parameter(torch.ones(site.channels, 1, 1)) if gain else 1.0
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.broken:
            x = x / torch.zeros_like(x)
        return F.group_norm(x, self.groups) * self.gain


class RandomForOneOption(nn.Module):
    """DropKey (Li et al. 2022, arXiv:2208.02646), eq. 4: the keys drop out in evaluation as well;
    at the default nothing drops."""

    def __init__(self, site: Site, *, drop: Annotated[float, Choice(0.0, 0.1, 0.3)] = 0.0) -> None:
        super().__init__()
        self.drop = drop
        self.qkv = nn.Conv2d(site.channels, 3 * site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).flatten(2).transpose(1, 2).chunk(3, dim=2)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return F.dropout(mixed, self.drop).transpose(1, 2).reshape(x.shape)


class IgnoresEvaluation(nn.Module):
    """Frozen statistics the wrong way round: `train` is overridden, and evaluation never comes
    (batch norm, Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 2)."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = _depthwise(site.channels)

    def train(self, mode: bool = True) -> IgnoresEvaluation:
        return super().train(True)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class LeavesTraining(nn.Module):
    """Exponential averages (Polyak; arXiv:1803.05407) that switch the mixer to evaluation."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = _depthwise(site.channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not torch.compiler.is_compiling():
            self.eval()
        return self.conv(x)


class CountsItsProjection(nn.Module):
    """Involution (arXiv:2103.06255), eq. 4, whose products and sums no counter sees."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(site.channels, 1, 1)
        self.weight = nn.Parameter(torch.randn(site.channels, 49, 1) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, 7, padding=3).reshape(x.shape[0], x.shape[1], 49, -1)
        return (patches * self.weight).sum(2).reshape(x.shape) + self.reduce(x)


class CountsNoShifts(nn.Module):
    """A depthwise 5×5 kernel as shifts, products and additions (arXiv:1711.08141, section 3)."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(25, site.channels, 1, 1) * 0.1)
        self.reduce = nn.Conv2d(site.channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (2, 2, 2, 2))
        output = self.reduce(x)
        for tap in range(25):
            row, column = divmod(tap, 5)
            part = padded[:, :, row : row + x.shape[2], column : column + x.shape[3]]
            output = output + part * self.weight[tap]
        return output


class StatesTooFew(nn.Module):
    """A 7×7 kernel (ConvNeXt, arXiv:2201.03545) that states a tenth of what it computes."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.positions = site.height * site.width
        self.conv = nn.Conv2d(site.channels, site.channels, 7, padding=3)

    def macs(self) -> int:
        return self.positions * self.conv.weight.numel() // 10

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


@torch.library.custom_op("published_mixers::project", mutates_args=())
def _project(x: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("bchw,dc->bdhw", x, weight).contiguous()


@_project.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    x, weight = ctx.saved_tensors
    return _project(gradient, weight.t()), torch.einsum("bdhw,bchw->dc", gradient, x)


_project.register_autograd(
    _backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs)
)


class CountsNoOwnOperator(nn.Module):
    """A projection as an operator of its own, as Mamba's scan is one (arXiv:2312.00752)."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = _depthwise(site.channels)
        self.weight = nn.Parameter(torch.randn(site.channels, site.channels) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return _project(x, self.weight.to(x.dtype))
