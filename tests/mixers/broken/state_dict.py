"""Random numbers that belong to the weights are not saved with them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)
        self.mixing: Tensor
        self.register_buffer("mixing", torch.rand(site.channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.mixing[:, None, None]
