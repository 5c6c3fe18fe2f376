"""The constructor seeds python's random numbers."""

from __future__ import annotations

import random

from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)
        random.seed(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
