"""1×1 convolutions, computed in the way that suits the memory of their input."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The 1×1 convolution of `x` with `weight` (C', C, 1, 1): (B, C, H, W) -> (B, C', H, W).

    On channels_last memory it is one matrix product over all positions, which is faster than the
    convolution kernels there; the result is channels_last too. (benchmarks/against_timm.py)
    """
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        flat = F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias)
        return flat.permute(0, 3, 1, 2)
    return F.conv2d(x, weight, bias)
