"""Dilation is declared, and the padding does not follow it."""

from __future__ import annotations

from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    supports_dilation = True

    def __init__(self, site: Site) -> None:
        super().__init__()
        channels = site.channels
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, dilation=site.dilation)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
