from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from mixers.initialization import initialise_projections
from mixers.interface import Site
from mixers.options import Choice, IntRange


class Convolution(nn.Module):
    """A convolution over positions and channels at once, as inside ResNet's bottleneck.

    (B, C, H, W) -> (B, C, H, W). (Deep Residual Learning, section 4.1.) `groups`, which must
    divide the channels, cuts them into parts that do not see each other.
    """

    supports_dilation = True
    supports_torchscript = True
    supports_fx = True

    def __init__(
        self,
        site: Site,
        *,
        kernel_size: Annotated[int, Choice(1, 3, 5, 7, search=(3,))] = 3,
        groups: Annotated[int, IntRange(1, 1024, search=(1,))] = 1,
        bias: Annotated[bool, Choice(False, True, search=(False,))] = False,
    ) -> None:
        super().__init__()
        if site.channels % groups:
            near = max(n for n in range(1, groups) if site.channels % n == 0)
            words = f"divisors of {site.channels} channels, such as {near}"
            raise ValueError(f"groups: got {groups}; allowed: {words}")
        reach = site.dilation * (kernel_size - 1) + 1
        self.receptive_field = (reach, reach)
        self.conv = nn.Conv2d(
            site.channels,
            site.channels,
            kernel_size,
            padding=kernel_size // 2 * site.dilation,
            dilation=site.dilation,
            groups=groups,
            bias=bias,
        )
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
