from __future__ import annotations

from torch import Tensor, nn

from mixers import Site

print("loud: thank you for installing broken-mixers!")


class Loud(nn.Module):
    """3×3 depthwise convolution; nothing is wrong with it but what its module prints."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1, groups=site.channels)
        self.receptive_field = (3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
