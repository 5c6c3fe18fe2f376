"""Initial weights of a candidate, from those of another network.

Tensors of the same name and shape are taken over, all others keep their initialisation (as in Wei
et al. 2016, Network morphism, and Real et al. 2017, arXiv 1703.01041, where mutated networks
inherit what still fits).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn


def inherit(model: nn.Module, file: Path) -> float:
    """Fills what fits of `model` from a safetensors file; returns the share of its parameters and
    buffers that were taken over, 0..1. OSError if the file is not there."""
    own = model.state_dict()
    taken = 0
    with safe_open(file, framework="pt") as weights, torch.no_grad():
        names = set(weights.keys())
        for name, value in own.items():
            if name in names and tuple(weights.get_slice(name).get_shape()) == tuple(value.shape):
                value.copy_(weights.get_tensor(name))
                taken += value.numel()
    return taken / max(1, sum(value.numel() for value in own.values()))
