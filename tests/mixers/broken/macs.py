"""Matrix products are written out as sums, which no counter sees."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(site.channels, site.channels) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return (x.unsqueeze(1) * self.weight[:, :, None, None]).sum(2)
