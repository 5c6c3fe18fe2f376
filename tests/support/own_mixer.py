"""A mixer in a file of a user's own, as `[local]` of a plugins.toml names it."""

from __future__ import annotations

CODE = """\
from typing import Annotated
from torch import nn
from mixers import Choice, Site

class Mine(nn.Module):
    def __init__(self, site: Site, *, size: Annotated[int, Choice(3, 5)] = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, size, padding=size // 2)

    def forward(self, x):
        return self.conv(x)
"""
