"""Activations of the MetaFormer family that torch does not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StarReLU(nn.Module):
    """s · relu(x)² + b with learned scalars s and b (MetaFormer Baselines, "StarReLU")."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.relu(x).square() + self.bias


class SquaredReLU(nn.Module):
    """relu(x)² (Primer)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()
