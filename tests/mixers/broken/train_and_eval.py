"""It counts its calls in evaluation too."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros((), dtype=torch.long), persistent=False)

    def init_non_persistent_buffers(self) -> None:
        self.calls.zero_()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.conv(x)
