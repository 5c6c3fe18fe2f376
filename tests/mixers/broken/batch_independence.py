"""The mean is taken over the images of the batch."""

from __future__ import annotations

from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) - x.mean(0, keepdim=True)
