"""Good mixers that weigh positions or channels by attention."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixers import Choice, Site


class Axial(nn.Module):
    """Axial attention (Ho et al. 2019, arXiv:1912.12180), section 3: along rows, then columns."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.rows = nn.Linear(site.channels, 3 * site.channels)
        self.columns = nn.Linear(site.channels, 3 * site.channels)
        self.out = nn.Linear(site.channels, site.channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.scaled_dot_product_attention(*self.rows(x).chunk(3, -1))
        x = F.scaled_dot_product_attention(*self.columns(x.transpose(1, 2)).chunk(3, -1))
        return self.out(x.transpose(1, 2)).permute(0, 3, 1, 2)


class Linear(nn.Module):
    """Linear attention (Katharopoulos et al. 2020, arXiv:2006.16236), eq. 4 to 7: φ = elu + 1."""

    def __init__(self, site: Site, *, heads: Annotated[int, Choice(1, 2, 4)] = 4) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.heads = heads
        self.qkv = nn.Conv2d(site.channels, 3 * site.channels, 1)
        self.out = nn.Conv2d(site.channels, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).flatten(2).unflatten(1, (3, self.heads, -1)).unbind(1)
        query, key = F.elu(query) + 1, F.elu(key) + 1
        mixed = (value @ key.transpose(2, 3)) @ query
        norm = key.sum(3, keepdim=True).transpose(2, 3) @ query
        return self.out((mixed / norm).reshape(x.shape))


class CrossCovariance(nn.Module):
    """XCiT (El-Nouby et al. 2021, arXiv:2106.09681), eq. 3: attention between channels."""

    def __init__(self, site: Site, *, heads: Annotated[int, Choice(1, 4)] = 4) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(site.channels, 3 * site.channels, 1, bias=False)
        self.out = nn.Conv2d(site.channels, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).flatten(2).unflatten(1, (3, self.heads, -1)).unbind(1)
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        weights = (query @ key.transpose(2, 3) * self.temperature).softmax(-1)
        return self.out((weights @ value).reshape(x.shape))


class Cosine(nn.Module):
    """Swin v2 (Liu et al. 2021, arXiv:2111.09883), eq. 2: cosines by a learned temperature, and a
    continuous position bias from log-spaced offsets."""

    fixed_map_size = True

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.qkv = nn.Linear(site.channels, 3 * site.channels)
        self.bias = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1, bias=False))
        self.out = nn.Linear(site.channels, site.channels)
        rows, columns = torch.meshgrid(
            torch.arange(site.height), torch.arange(site.width), indexing="ij"
        )
        places = torch.stack((rows.flatten(), columns.flatten()), 1)
        offsets = (places[:, None] - places[None]).float()
        self.offsets: Tensor
        self.register_buffer("offsets", offsets.sign() * torch.log2(offsets.abs() + 1) / 3)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, -1)
        scale = self.logit_scale.clamp(max=math.log(100.0)).exp()
        logits = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(1, 2) * scale
        logits = logits + 16 * self.bias(self.offsets).squeeze(-1).sigmoid()
        return self.out(logits.softmax(-1) @ value).transpose(1, 2).reshape(x.shape)


class RmsNormalised(nn.Module):
    """RMS norm (Zhang and Sennrich 2019, arXiv:1910.07467), eq. 4, in float32 before attention, as
    LLaMA's code does."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.gain = nn.Parameter(torch.ones(site.channels))
        self.qkv = nn.Linear(site.channels, 3 * site.channels, bias=False)
        self.out = nn.Linear(site.channels, site.channels, bias=False)

    def _norm(self, x: Tensor) -> Tensor:
        values = x.float()
        values = values * torch.rsqrt(values.square().mean(-1, keepdim=True) + 1e-6)
        return values.to(x.dtype) * self.gain

    def forward(self, x: Tensor) -> Tensor:
        tokens = self._norm(x.flatten(2).transpose(1, 2))
        mixed = F.scaled_dot_product_attention(*self.qkv(tokens).chunk(3, -1))
        return self.out(mixed).transpose(1, 2).reshape(x.shape)


class FullPrecisionIsland(nn.Module):
    """Attention whose logits and softmax stay in float32 whatever autocast says, as EfficientViT
    (Cai et al. 2022, arXiv:2205.14756) does for its ReLU attention, eq. 2."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.qkv = nn.Conv2d(site.channels, 3 * site.channels, 1)
        self.out = nn.Conv2d(site.channels, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).flatten(2).chunk(3, dim=1)
        with torch.autocast(device_type=x.device.type, enabled=False):
            query, key = F.relu(query.float()), F.relu(key.float())
            value = F.pad(value.float(), (0, 0, 0, 1), value=1.0)
            mixed = (value @ key.transpose(1, 2)) @ query
            mixed = mixed[:, :-1] / (mixed[:, -1:] + 1e-4)
        return self.out(mixed.to(x.dtype).reshape(x.shape))


class SharedQueriesAndKeys(nn.Module):
    """Reformer (Kitaev et al. 2020, arXiv:2001.04451), section 2: queries and keys are one."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.query = nn.Conv2d(site.channels, site.channels, 1, bias=False)
        self.key = self.query
        self.value = nn.Conv2d(site.channels, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, value = self.query(x).flatten(2), self.value(x).flatten(2)
        key = F.normalize(self.key(x).flatten(2), dim=1)
        weights = (query.transpose(1, 2) @ key * x.shape[1] ** -0.5).softmax(-1)
        return (value @ weights.transpose(1, 2)).reshape(x.shape)


class PooledKeys(nn.Module):
    """PVT v2 (Wang et al. 2021, arXiv:2106.13797), section 3.2: keys and values are averages."""

    def __init__(self, site: Site, *, side: Annotated[int, Choice(1, 3, 7)] = 3) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.side = side
        self.query = nn.Conv2d(site.channels, site.channels, 1)
        self.pairs = nn.Conv2d(site.channels, 2 * site.channels, 1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).flatten(2).transpose(1, 2)
        pooled = F.adaptive_avg_pool2d(x, self.side)
        key, value = self.pairs(pooled).flatten(2).transpose(1, 2).chunk(2, dim=2)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.dropout(mixed).transpose(1, 2).reshape(x.shape)


class Focal(nn.Module):
    """Focal modulation (Yang et al. 2022, arXiv:2203.11926), eq. 5 to 8, two levels."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        channels = site.channels
        self.enter = nn.Conv2d(channels, 2 * channels + 3, 1)
        self.levels = nn.ModuleList(
            nn.Conv2d(channels, channels, side, padding=side // 2, groups=channels)
            for side in (3, 5)
        )
        self.modulator = nn.Conv2d(channels, channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        query, context, gates = self.enter(x).split((channels, channels, 3), dim=1)
        summed = torch.zeros_like(context)
        for index, level in enumerate(self.levels):
            context = F.gelu(level(context))
            summed = summed + context * gates[:, index : index + 1]
        whole = F.gelu(context.mean((2, 3), keepdim=True))
        return self.out(query * self.modulator(summed + whole * gates[:, 2:]))
