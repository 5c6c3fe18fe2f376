"""TorchScript is declared, and an attribute is looked up by a name made up on the way."""

from __future__ import annotations

from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    supports_torchscript = True

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)
        self.part = "co" + "nv"

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.part)(x)
