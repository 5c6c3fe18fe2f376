from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from mixers.initialization import initialise_projections
from mixers.interface import Site
from mixers.options import Choice, FloatRange


class LargeKernelDepthwise(nn.Module):
    """Depthwise convolution of the last `convolved_ratio` of the channels; the rest pass.

    (B, C, H, W) -> (B, C, H, W). At ratio 1 it is ConvNeXt's mixer; below, the partial
    depthwise convolution of the InceptionNeXt study's table 1.
    """

    supports_dilation = True
    supports_torchscript = True
    supports_fx = True

    def __init__(
        self,
        site: Site,
        *,
        kernel_size: Annotated[
            int, Choice(3, 5, 7, 9, 11, 13, 15, 17, 21, 27, 31, search=(3, 5, 7, 9, 11))
        ] = 7,
        convolved_ratio: Annotated[
            float, FloatRange(1 / 64, 1.0, search=(0.25, 0.375, 0.5, 1.0))
        ] = 1.0,
    ) -> None:
        super().__init__()
        convolved = int(site.channels * convolved_ratio)
        if convolved < 1:
            raise ValueError(
                f"convolved_ratio: got {convolved_ratio}; {site.channels} channels "
                f"need {1 / site.channels:g} or more"
            )
        self.split = [site.channels - convolved, convolved]
        reach = site.dilation * (kernel_size - 1) + 1
        self.receptive_field = (reach, reach)
        self.conv = nn.Conv2d(
            convolved,
            convolved,
            kernel_size,
            padding=kernel_size // 2 * site.dilation,
            dilation=site.dilation,
            groups=convolved,
        )
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        if self.split[0] == 0:
            return self.conv(x)
        passed, convolved = torch.split(x, self.split, dim=1)
        return torch.cat((passed, self.conv(convolved)), dim=1)
