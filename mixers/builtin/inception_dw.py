from __future__ import annotations

from collections import OrderedDict
from typing import Annotated

import torch
from torch import Tensor, nn

from mixers.initialization import initialise_projections
from mixers.interface import Site
from mixers.options import Choice, FloatRange


class InceptionDepthwise(nn.Module):
    """Identity next to a square, a horizontal and a vertical depthwise convolution.

    (B, C, H, W) -> (B, C, H, W). Each convolution takes `branch_ratio` of the channels; the
    identity takes the first ones, as in the released code and in timm. (InceptionNeXt, section 3;
    the slides of the study put the identity last, which is another network.)

    `square_branch` and `bands` are the study's ablations: a branch that is left out leaves its
    channels to the identity; `sequential` has the horizontal band and then the vertical one on
    the channels of one branch.
    """

    supports_dilation = True
    supports_torchscript = True
    supports_fx = True

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
        square_branch: Annotated[bool, Choice(False, True, search=(True,))] = True,
        bands: Annotated[
            str, Choice("parallel", "sequential", "horizontal", "vertical", search=("parallel",))
        ] = "parallel",
    ) -> None:
        super().__init__()
        width = int(site.channels * branch_ratio)
        if width < 1:
            raise ValueError(
                f"branch_ratio: got {branch_ratio}; {site.channels} channels "
                f"need {1 / site.channels:g} or more"
            )
        self.branches = nn.ModuleDict()
        if square_branch:
            self.branches["square"] = _depthwise(width, (square_kernel, square_kernel), site)
        if bands == "sequential":
            self.branches["bands"] = nn.Sequential(
                OrderedDict(
                    horizontal=_depthwise(width, (1, band_kernel), site),
                    vertical=_depthwise(width, (band_kernel, 1), site),
                )
            )
        if bands in ("parallel", "horizontal"):
            self.branches["horizontal"] = _depthwise(width, (1, band_kernel), site)
        if bands in ("parallel", "vertical"):
            self.branches["vertical"] = _depthwise(width, (band_kernel, 1), site)
        self.receptive_field = _reach(self.branches, site.dilation)
        convolved = len(self.branches)
        self.split = [site.channels - convolved * width] + [width] * convolved
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(x, self.split, dim=1)
        mixed = [parts[0]]
        for index, branch in enumerate(self.branches.values()):
            mixed.append(branch(parts[index + 1]))
        return torch.cat(mixed, dim=1)


def _reach(branches: nn.ModuleDict, dilation: int) -> tuple[int, int]:
    """Height and width of what the widest branches see; one position without any."""
    # the bands of a sequence are wide in one axis each, so that maxima hold for them too
    kernels = [part.kernel_size for part in branches.modules() if isinstance(part, nn.Conv2d)]
    height = max((kernel[0] for kernel in kernels), default=1)
    width = max((kernel[1] for kernel in kernels), default=1)
    return (dilation * (height - 1) + 1, dilation * (width - 1) + 1)


def _depthwise(channels: int, kernel: tuple[int, int], site: Site) -> nn.Conv2d:
    """A depthwise convolution that keeps the size of the map."""
    padding = (kernel[0] // 2 * site.dilation, kernel[1] // 2 * site.dilation)
    return nn.Conv2d(channels, channels, kernel, 1, padding, site.dilation, groups=channels)
