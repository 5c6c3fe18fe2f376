from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from mixers.contract import Site
from mixers.initialization import initialise_projections
from mixers.options import Choice, FloatRange


class InceptionDepthwise(nn.Module):
    """Identity beside a square, a horizontal and a vertical depthwise convolution.

    (B, C, H, W) -> (B, C, H, W). Each convolution takes `branch_ratio` of the channels; the
    identity takes the first ones, as in the released code and in timm. (InceptionNeXt, section 3;
    the slides of the study put the identity last, which is another network.)
    """

    def __init__(
        self,
        site: Site,
        *,
        square_kernel: Annotated[int, Choice(3, 5, 7, search=(3, 5))] = 3,
        band_kernel: Annotated[
            int, Choice(3, 5, 7, 9, 11, 13, 15, 17, 21, 27, 31, search=(5, 7, 9, 11))
        ] = 11,
        branch_ratio: Annotated[
            float, FloatRange(1 / 64, 1 / 3, search=(0.0625, 0.125, 0.25))
        ] = 0.125,
    ) -> None:
        super().__init__()
        branch = int(site.channels * branch_ratio)
        if branch < 1:
            raise ValueError(
                f"branch_ratio: got {branch_ratio}; {site.channels} channels "
                f"need {1 / site.channels:g} or more"
            )
        self.split = [site.channels - 3 * branch, branch, branch, branch]
        self.square = _depthwise(branch, (square_kernel, square_kernel), site.dilation)
        self.horizontal = _depthwise(branch, (1, band_kernel), site.dilation)
        self.vertical = _depthwise(branch, (band_kernel, 1), site.dilation)
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        passed, square, horizontal, vertical = torch.split(x, self.split, dim=1)
        return torch.cat(
            (passed, self.square(square), self.horizontal(horizontal), self.vertical(vertical)),
            dim=1,
        )


def _depthwise(channels: int, kernel: tuple[int, int], dilation: int) -> nn.Conv2d:
    """A depthwise convolution that keeps the size of the map."""
    padding = (kernel[0] // 2 * dilation, kernel[1] // 2 * dilation)
    return nn.Conv2d(channels, channels, kernel, 1, padding, dilation, groups=channels)
