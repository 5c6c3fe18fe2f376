"""Two layers share one weight."""

from __future__ import annotations

from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)
        self.again = nn.Conv2d(site.channels, site.channels, 3, padding=1)
        self.again.weight = self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.conv(x))
