"""What honest authors write passes: normalisation, dropout, torch's own attention, refusals."""

from __future__ import annotations

from typing import Annotated

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixers import Choice, FloatRange, IntRange, Site
from mixers.conformance import Status, check_mixer


class Normalised(nn.Module):
    """Batch norm, dropout, and a scale that begins near zero."""

    def __init__(
        self,
        site: Site,
        *,
        kernel_size: Annotated[int, Choice(3, 5)] = 3,
        dropout: Annotated[float, FloatRange(0, 0.5)] = 0.1,
    ) -> None:
        super().__init__()
        channels, padding = site.channels, kernel_size // 2
        self.conv = nn.Conv2d(channels, channels, kernel_size, padding=padding, groups=channels)
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(dropout)
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.norm(self.conv(x))) * self.scale


class PositionsMixed(nn.Module):
    """MLP-Mixer's: layers over the positions of one size of map."""

    fixed_map_size = True

    def __init__(self, site: Site, *, ratio: Annotated[float, Choice(0.5, 1.0, 4.0)] = 0.5) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        positions = site.height * site.width
        hidden = max(1, int(positions * ratio))
        self.expand = nn.Linear(positions, hidden)
        self.contract = nn.Linear(hidden, positions)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(F.gelu(self.expand(x.flatten(2)))).unflatten(2, x.shape[2:])


class TorchsAttention(nn.Module):
    """nn.MultiheadAttention, which has a fast path in evaluation."""

    def __init__(self, site: Site, *, heads: Annotated[int, Choice(1, 2, 4, 8)] = 4) -> None:
        super().__init__()
        if site.channels % heads:
            raise ValueError(f"heads: got {heads}; allowed: divisors of {site.channels}")
        self.norm = nn.LayerNorm(site.channels)
        self.attention = nn.MultiheadAttention(site.channels, heads, 0.1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return mixed.transpose(1, 2).reshape(x.shape)


class Reflecting(nn.Module):
    """Mirrors the border, which small maps are too small for."""

    def __init__(self, site: Site, *, kernel_size: Annotated[int, IntRange(3, 9, 2)] = 7) -> None:
        super().__init__()
        side = min(site.height, site.width)
        if side <= kernel_size // 2:
            raise ValueError(f"kernel_size: got {kernel_size}; a side of {side} is too small")
        self.receptive_field = (kernel_size, kernel_size)
        self.conv = nn.Conv2d(
            site.channels,
            site.channels,
            kernel_size,
            padding=kernel_size // 2,
            padding_mode="reflect",
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class ChannelAttention(nn.Module):
    """Attention between channels, with a temperature and a learned position of zeros."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.qkv = nn.Conv2d(site.channels, 3 * site.channels, 1)
        self.temperature = nn.Parameter(torch.tensor(10.0))
        self.offset = nn.Parameter(torch.zeros(site.channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (part.flatten(2) for part in self.qkv(x + self.offset).chunk(3, 1))
        key = (F.normalize(key, dim=-1) * self.temperature).softmax(-1)
        context = torch.einsum("bcn,bdn->bcd", key, value)
        return torch.einsum("bcd,bcn->bdn", context, query.softmax(1)).reshape(x.shape)


class Shifting(nn.Module):
    """Quarters of the channels move by one position each way."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (3, 3)
        self.project = nn.Conv2d(site.channels, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        up, down, left, right = x.chunk(4, dim=1)
        moved = (up.roll(-1, 2), down.roll(1, 2), left.roll(-1, 3), right.roll(1, 3))
        return self.project(torch.cat(moved, dim=1))


@pytest.mark.parametrize(
    "mixer_class",
    [Normalised, PositionsMixed, TorchsAttention, Reflecting, ChannelAttention, Shifting],
)
def test_an_honest_mixer_fails_no_check(mixer_class: type[nn.Module]) -> None:
    records = check_mixer(mixer_class)
    assert [record for record in records if record.status is Status.FAILED] == []


def test_the_suite_runs_in_inference_mode_too() -> None:
    with torch.inference_mode():
        records = check_mixer(Shifting, only=["gradients_fp32", "state_dict", "receptive_field"])
        assert torch.is_inference_mode_enabled()
    assert {record.status for record in records} == {Status.PASSED}
