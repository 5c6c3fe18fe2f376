from __future__ import annotations

import torch
from torch import Tensor, nn

from mixers.interface import Site


class RandomMixing(nn.Module):
    """Every position becomes a fixed random average of all positions; nothing is learned.

    (B, C, H, W) -> (B, C, H, W), for the H and W it was built for only. The rows of the matrix
    are softmaxes of uniform numbers, drawn when it is built and saved with the weights
    (RandFormer; MetaFormer Baselines, section 3.1).
    """

    fixed_map_size = True
    supports_dilation = True
    supports_torchscript = True
    supports_fx = True

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        positions = site.height * site.width
        self.matrix: Tensor
        self.sides = (site.height, site.width)
        self.sides_words = f"random_mixing was built for maps of {site.height}×{site.width} only"
        self.register_buffer("matrix", torch.rand(positions, positions).softmax(dim=-1))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        torch._assert(height == self.sides[0], self.sides_words)
        torch._assert(width == self.sides[1], self.sides_words)
        tokens = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        mixed = torch.matmul(self.matrix.to(x.dtype), tokens)
        return mixed.reshape(batch, height, width, channels).permute(0, 3, 1, 2)
