"""Tensors that fit are taken over from another network's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from search.training.weight_transfer import inherit


def test_tensors_of_one_name_and_shape_are_taken_and_the_others_stay(tmp_path: Path) -> None:
    file = tmp_path / "parent.safetensors"
    parent = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    save_file(parent.state_dict(), file)
    child = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))
    before = child[1].weight.clone()
    assert inherit(child, file) == pytest.approx(40 / 67)
    assert torch.equal(child[0].weight, parent[0].weight)
    assert torch.equal(child[1].weight, before)
