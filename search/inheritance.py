"""Weights that a new candidate begins with: those of the nearest one that was trained before.

Tensors of the same name and shape are taken over, all others keep their initialisation (as in Wei
et al. 2016, Network morphism, and Real et al. 2017, arXiv 1703.01041, where mutated networks
inherit what still fits).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from search.records import TrialRecord, TrialState


def nearest(
    params: Mapping[str, Any],
    records: Sequence[TrialRecord],
    params_of: Mapping[int, Mapping[str, Any]],
) -> TrialRecord | None:
    """The trained candidate that shares most choices with `params`; of equals, the best.

    `params_of` are those of the trials, by number. None where nothing is trained yet.
    """
    trained = [r for r in records if r.state is TrialState.COMPLETE and r.number in params_of]
    if not trained:
        return None

    def likeness(record: TrialRecord) -> tuple[float, float]:
        other = params_of[record.number]
        together = params.items() & other.items()
        either = params.keys() | other.keys()
        return len(together) / max(1, len(either)), record.accuracy or 0.0

    return max(trained, key=likeness)


def inherit(model: nn.Module, file: Path) -> float:
    """Fills what fits of `model` from a safetensors file; returns the share of its parameters and
    buffers that were taken over, 0..1. OSError where the file is not there."""
    own = model.state_dict()
    taken = 0
    with safe_open(file, framework="pt") as weights, torch.no_grad():
        names = set(weights.keys())
        for name, value in own.items():
            if name in names and tuple(weights.get_slice(name).get_shape()) == tuple(value.shape):
                value.copy_(weights.get_tensor(name))
                taken += value.numel()
    return taken / max(1, sum(value.numel() for value in own.values()))
