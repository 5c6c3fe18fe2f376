"""A weight comes from the system and not from torch's seed."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)
        self.scale = nn.Parameter(torch.full((1,), random.SystemRandom().uniform(1.0, 2.0)))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.scale
