from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixers.initialization import initialise_projections
from mixers.interface import Site
from mixers.options import Choice, IntRange
from mixers.pointwise import Pointwise


class FocalModulation(nn.Module):
    """A query per position, multiplied by context gathered at growing distances.

    (B, C, H, W) -> (B, C, H, W). Depthwise convolutions of growing kernels, each on the one
    before, and at last the mean over the map give a context per level; gates weigh the levels
    (FocalNet, eq. 4 to 6). `focal_window` is the first kernel's size; each level adds 2.
    """

    supports_dilation = True
    supports_torchscript = True

    def __init__(
        self,
        site: Site,
        *,
        focal_levels: Annotated[int, IntRange(1, 6, search=(2, 3))] = 3,
        focal_window: Annotated[int, Choice(3, 5, 7, 9, search=(3, 5))] = 3,
    ) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)  # through the mean over the map
        channels = site.channels
        self.split = [channels, channels, focal_levels + 1]
        self.query_context_gates = Pointwise(channels, sum(self.split))
        self.levels = nn.ModuleList()
        for level in range(focal_levels):
            kernel = focal_window + 2 * level
            padding = kernel // 2 * site.dilation
            self.levels.append(
                nn.Conv2d(
                    channels,
                    channels,
                    kernel,
                    padding=padding,
                    dilation=site.dilation,
                    groups=channels,
                    bias=False,
                )
            )
        self.modulator = Pointwise(channels, channels)
        self.project = Pointwise(channels, channels)
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        query, context, gates = torch.split(self.query_context_gates(x), self.split, dim=1)
        gathered = torch.zeros_like(context)
        for index, level in enumerate(self.levels):
            context = F.gelu(level(context))
            gathered = gathered + context * gates[:, index : index + 1]
        whole_map = F.gelu(context.mean((2, 3), keepdim=True))
        gathered = gathered + whole_map * gates[:, -1:]
        return self.project(query * self.modulator(gathered))
