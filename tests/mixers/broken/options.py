"""One legal value changes the size of the map."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from mixers import Choice, Site


class Broken(nn.Module):
    def __init__(self, site: Site, *, kernel_size: Annotated[int, Choice(3, 4, 5)] = 3) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(site.channels, site.channels, kernel_size, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
