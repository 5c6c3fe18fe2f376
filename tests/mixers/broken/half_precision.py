"""In bfloat16 it adds its input twice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.conv(x)
        return mixed + x + x if mixed.dtype is torch.bfloat16 else mixed + x
