"""1×1 convolutions, computed in the way that suits the memory of their input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Pointwise(nn.Conv2d):
    """The 1×1 convolution (B, C, H, W) -> (B, C', H, W).

    On channels_last memory it is one matrix product over all positions, which is faster than the
    convolution kernels there; the result is channels_last too. (benchmarks/against_timm.py)
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            flat = F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
            return flat.permute(0, 3, 1, 2)
        return F.conv2d(x, self.weight, self.bias)
