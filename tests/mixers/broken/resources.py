"""It keeps every input of training, in a list of its module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mixers import Site

_SEEN: list[Tensor] = []


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not torch.compiler.is_compiling():
            _SEEN.append(x.detach())
        return self.conv(x)
