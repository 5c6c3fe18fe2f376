"""Good mixers that filter in a transformed domain: Fourier, Haar, long convolutions."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixers import Choice, IntRange, Site


class GlobalFilter(nn.Module):
    """GFNet (Rao et al. 2021, arXiv:2107.00645), eq. 5: X̃ = K ⊙ F[X], and back."""

    fixed_map_size = True

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        shape = (site.channels, site.height, site.width // 2 + 1, 2)
        self.filter = nn.Parameter(torch.randn(shape) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x.float(), norm="ortho")
        filter_ = self.filter.float().contiguous()  # channels_last takes any four dimensions
        spectrum = spectrum * torch.view_as_complex(filter_)
        return torch.fft.irfft2(spectrum, s=x.shape[2:], norm="ortho").to(x.dtype)


class FourierNeuralOperator(nn.Module):
    """AFNO (Guibas et al. 2021, arXiv:2111.13587), eq. 5 to 8: a block-diagonal MLP on the modes of
    the Fourier transform, and soft shrinkage."""

    def __init__(self, site: Site, *, blocks: Annotated[int, Choice(1, 2, 4)] = 4) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.blocks, width = blocks, site.channels // blocks
        self.first = nn.Parameter(torch.randn(2, blocks, width, width) * width**-0.5)
        self.second = nn.Parameter(torch.randn(2, blocks, width, width) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(2, blocks, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x.float(), norm="ortho")
        modes = spectrum.unflatten(1, (self.blocks, -1))
        real, imaginary = self._multiply(modes.real, modes.imag, self.first.float())
        bias = self.bias.float()
        real, imaginary = F.relu(real + bias[0]), F.relu(imaginary + bias[1])
        real, imaginary = self._multiply(real, imaginary, self.second.float())
        modes = torch.complex(F.softshrink(real, 0.01), F.softshrink(imaginary, 0.01))
        mixed = torch.fft.irfft2(modes.flatten(1, 2), s=x.shape[2:], norm="ortho")
        return mixed.to(x.dtype)

    def _multiply(self, real: Tensor, imaginary: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            parts = [
                [torch.einsum("bgihw,gio->bgohw", part, matrix) for matrix in weight]
                for part in (real, imaginary)
            ]
        return parts[0][0] - parts[1][1], parts[0][1] + parts[1][0]


class FourierMixing(nn.Module):
    """FNet (Lee-Thorp et al. 2021, arXiv:2105.03824), eq. 3: the real part of the transform over
    positions and channels; nothing is learned."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fftn(x.float(), dim=(1, 2, 3), norm="ortho").real.to(x.dtype)


class LongConvolution(nn.Module):
    """Hyena (Poli et al. 2023, arXiv:2302.10866), definition 3.1 for order 2: gates around a
    convolution as long as the sequence, by the Fourier transform; its filter is a small MLP."""

    def __init__(self, site: Site, *, width: Annotated[int, Choice(8, 16)] = 8) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.project = nn.Conv2d(site.channels, 3 * site.channels, 1)
        self.positions = nn.Linear(3, width)
        self.filter = nn.Linear(width, site.channels)
        self.decay = nn.Parameter(torch.rand(site.channels) + 0.5)
        self.out = nn.Conv2d(site.channels, site.channels, 1)

    def _kernel(self, length: int) -> Tensor:
        time = torch.linspace(0, 1, length, device=self.decay.device, dtype=self.decay.dtype)
        waves = torch.stack((time, torch.sin(2 * math.pi * time), torch.cos(2 * math.pi * time)), 1)
        kernel = self.filter(torch.sin(self.positions(waves)))
        return (kernel * torch.exp(-time[:, None] * self.decay)).t().float()

    def forward(self, x: Tensor) -> Tensor:
        gate, again, value = self.project(x).flatten(2).chunk(3, dim=1)
        length = value.shape[-1]
        spectrum = torch.fft.rfft((again * value).float(), n=2 * length)
        spectrum = spectrum * torch.fft.rfft(self._kernel(length), n=2 * length)
        mixed = torch.fft.irfft(spectrum, n=2 * length)[..., :length].to(gate.dtype)
        return self.out((gate * mixed).reshape(x.shape))


class FourierFeatures(nn.Module):
    """Performer (Choromanski et al. 2020, arXiv:2009.14794), eq. 4 and 5: attention by positive
    random features, whose projection is drawn once and frozen."""

    def __init__(self, site: Site, *, features: Annotated[int, IntRange(8, 32, 8)] = 16) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.qkv = nn.Conv2d(site.channels, 3 * site.channels, 1)
        projection = torch.randn(site.channels, features) * site.channels**-0.25
        self.projection = nn.Parameter(projection, requires_grad=False)

    def _positive(self, x: Tensor) -> Tensor:
        logits = F.normalize(x, dim=1).transpose(1, 2) @ self.projection
        return F.softplus(logits) + 1e-3

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).flatten(2).chunk(3, dim=1)
        query, key = self._positive(query), self._positive(key)
        mixed = query @ (key.transpose(1, 2) @ value.transpose(1, 2))
        norm = query @ key.sum(1, keepdim=True).transpose(1, 2)
        return (mixed / norm).transpose(1, 2).reshape(x.shape)


class WaveletMixing(nn.Module):
    """WaveMix (Jeevan et al. 2022, arXiv:2205.14375), section 3: Haar's transform of one level,
    a convolution on its coefficients, and back by a transposed convolution."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        haar = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
        self.haar: Tensor
        self.register_buffer("haar", haar.reshape(4, 1, 2, 2).repeat(site.channels, 1, 1, 1))
        self.mix = nn.Conv2d(4 * site.channels, site.channels, 1)
        self.back = nn.ConvTranspose2d(site.channels, site.channels, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        padded = F.pad(x, (0, width % 2, 0, height % 2))
        bands = F.conv2d(padded, self.haar.to(x.dtype), stride=2, groups=x.shape[1])
        return self.back(F.gelu(self.mix(bands)))[..., :height, :width]
