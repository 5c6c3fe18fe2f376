"""FX is declared, and the shape decides which way forward goes."""

from __future__ import annotations

from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    supports_fx = True

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 2:
            return self.conv(x)
        return self.conv(x) + x
