"""A folder for this project's own code: the spec, the weights, what to know of them."""

from __future__ import annotations

from pathlib import Path

from search.export._model_card import model_card
from search.export.atomic_folder import CARD
from search.export.selected_trial import Chosen

_LOADING = """\
folder = "."  # where this file lies
model = build_backbone(load_spec(f"{{folder}}/backbone.yaml")).eval()
model.load_state_dict(load_file(f"{{folder}}/model.safetensors"))
with torch.inference_mode():
    logits = model(torch.zeros(1, {channels}, {size}, {size}))
"""
_IMPORTS = """\
import torch
from metaformer import build_backbone, load_spec
from safetensors.torch import load_file

"""


def write(chosen: Chosen, place: Path) -> list[str]:
    """Fills `place`; what to tell the user about it, in lines."""
    chosen.write_parts(place, weights=True)
    spec = chosen.spec
    loading = _IMPORTS + _LOADING.format(channels=spec.in_channels, size=spec.image_size)
    (place / CARD).write_text(model_card(chosen, loading), encoding="utf-8")
    return []
