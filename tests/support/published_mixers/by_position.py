"""Good mixers that are layers, scans or shifts over positions."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixers import Choice, Site


class TokenMlp(nn.Module):
    """MLP-Mixer (Tolstikhin et al. 2021, arXiv:2105.01601), eq. 1, first line."""

    fixed_map_size = True

    def __init__(self, site: Site, *, ratio: Annotated[float, Choice(0.5, 1.0, 2.0)] = 0.5) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        positions = site.height * site.width
        hidden = max(1, int(ratio * positions))
        self.expand = nn.Linear(positions, hidden)
        self.contract = nn.Linear(hidden, positions)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(F.gelu(self.expand(x.flatten(2)))).reshape(x.shape)


class SpatialGating(nn.Module):
    """gMLP (Liu et al. 2021, arXiv:2105.08050), eq. 4: the gate is near one at first."""

    fixed_map_size = True

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        positions = site.height * site.width
        self.enter = nn.Conv2d(site.channels, 2 * site.channels, 1)
        self.norm = nn.LayerNorm(site.channels)
        self.gate = nn.Linear(positions, positions)
        nn.init.normal_(self.gate.weight, std=1e-6)
        nn.init.ones_(self.gate.bias)
        self.leave = nn.Conv2d(site.channels, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept, gate = F.gelu(self.enter(x)).chunk(2, dim=1)
        gate = self.norm(gate.flatten(2).transpose(1, 2)).transpose(1, 2)
        return self.leave(kept * self.gate(gate).reshape(kept.shape))


class Cycle(nn.Module):
    """CycleMLP (Chen et al. 2021, arXiv:2107.10224), eq. 3: channel c is read c mod S further."""

    def __init__(self, site: Site, *, axis: Literal["height", "width"] = "width") -> None:
        super().__init__()
        self.receptive_field = (3, 1) if axis == "height" else (1, 3)
        self.dim = 2 if axis == "height" else 3
        self.project = nn.Conv2d(site.channels, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        side = x.shape[self.dim]
        padding = (0, 0, 1, 1) if self.dim == 2 else (1, 1, 0, 0)
        padded = F.pad(x, padding)
        steps = [padded.narrow(self.dim, start, side)[:, start::3] for start in range(3)]
        return self.project(torch.cat(steps, dim=1))


class AffineMixing(nn.Module):
    """ResMLP (Touvron et al. 2021, arXiv:2105.03404), eq. 1 and 2: affine, linear, layer scale."""

    fixed_map_size = True

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.alpha = nn.Parameter(torch.ones(site.channels, 1))
        self.beta = nn.Parameter(torch.zeros(site.channels, 1))
        self.mix = nn.Linear(site.height * site.width, site.height * site.width)
        self.scale = nn.Parameter(torch.full((site.channels, 1), 1e-4))

    def forward(self, x: Tensor) -> Tensor:
        return (self.scale * self.mix(self.alpha * x.flatten(2) + self.beta)).reshape(x.shape)


class StateSpace(nn.Module):
    """S4D (Gu et al. 2022, arXiv:2206.11893), eq. 6: a diagonal state space as one convolution by
    the Fourier transform, row by row."""

    def __init__(self, site: Site, *, states: Annotated[int, Choice(4, 8)] = 4) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.log_rate = nn.Parameter(torch.log(torch.rand(site.channels, states) + 0.5))
        self.frequency = nn.Parameter(torch.arange(1.0, states + 1).repeat(site.channels, 1))
        self.weight = nn.Parameter(torch.randn(site.channels, states))
        self.skip = nn.Parameter(torch.ones(site.channels, 1))
        self.log_step = nn.Parameter(torch.full((site.channels, 1), -2.0))

    def forward(self, x: Tensor) -> Tensor:
        sequence = x.flatten(2).float()
        length = sequence.shape[2]
        time = torch.arange(length, device=x.device).float() * self.log_step.float().exp()
        decay = torch.exp(-self.log_rate.float().exp()[..., None] * time[:, None])
        waves = torch.cos(self.frequency.float()[..., None] * time[:, None])
        kernel = torch.einsum("cs,csl->cl", self.weight.float(), decay * waves)
        spectrum = torch.fft.rfft(sequence, n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
        mixed = torch.fft.irfft(spectrum, n=2 * length)[..., :length]
        return (mixed + self.skip.float() * sequence).to(x.dtype).reshape(x.shape)


class GatedScan(nn.Module):
    """minGRU (Feng et al. 2024, arXiv:2410.01201), section 3.1, along rows, in a loop over them."""

    def __init__(self, site: Site, *, reverse: bool = False) -> None:
        super().__init__()
        self.receptive_field = (2 * site.height - 1, 1)
        self.reverse = reverse
        self.gate = nn.Conv2d(site.channels, site.channels, 1)
        self.candidate = nn.Conv2d(site.channels, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gates, candidates = self.gate(x).sigmoid().unbind(2), self.candidate(x).unbind(2)
        state = torch.zeros_like(candidates[0])
        states = []
        order = range(len(gates))
        for row in reversed(order) if self.reverse else order:
            state = (1 - gates[row]) * state + gates[row] * candidates[row]
            states.append(state)
        return torch.stack(states[::-1] if self.reverse else states, dim=2)
