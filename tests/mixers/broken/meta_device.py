"""A table is made from numpy, which knows no device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)
        self.table: Tensor
        self.register_buffer("table", torch.from_numpy(np.ones(site.channels, dtype=np.float32)))

    def forward(self, x: Tensor) -> Tensor:
        table = self.table.to(x.device, x.dtype)
        return self.conv(x) * table[:, None, None]
