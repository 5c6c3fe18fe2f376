"""A table that neither the state dict nor a method can bring back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)
        self.scale: Tensor
        self.register_buffer("scale", torch.linspace(0.5, 1.5, site.channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * self.scale[:, None, None].to(x.dtype)
