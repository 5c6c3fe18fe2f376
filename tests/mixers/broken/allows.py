"""A mixer whose `allows` disagrees with its constructor."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from mixers import Choice, Site


class Broken(nn.Module):
    def __init__(self, site: Site, *, groups: Annotated[int, Choice(1, 8)] = 1) -> None:
        super().__init__()
        if site.channels % groups:
            raise ValueError(f"groups: got {groups} for {site.channels} channels")
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1, groups=groups)

    @staticmethod
    def allows(site: Site, *, groups: int = 1) -> str | None:
        return "groups: 8 needs 32 channels" if site.channels < 16 and groups == 8 else None

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
