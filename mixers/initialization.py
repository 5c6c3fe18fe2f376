"""Initial weights that the published MetaNeXt, MetaFormer and Swin models share."""

from __future__ import annotations

from torch import nn


def initialise_projections(module: nn.Module) -> None:
    """Convolution and linear weights from a normal of deviation 0.02 cut at ±2; biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
