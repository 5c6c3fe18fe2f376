"""Channels that eight does not divide lose the rest."""

from __future__ import annotations

from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        kept = x.shape[1] // 8 * 8
        return self.conv(x)[:, :kept]
