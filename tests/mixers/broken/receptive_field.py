"""It declares less than it sees."""

from __future__ import annotations

from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (3, 3)
        self.conv = nn.Conv2d(site.channels, site.channels, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
