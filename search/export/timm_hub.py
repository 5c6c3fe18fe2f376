"""A folder that timm loads: `timm.create_model("local-dir:PATH", pretrained=True)`.

config.json is timm's own form of a model on a hub: the architecture's registered name, its
arguments (the whole spec), preprocessing and class names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metaformer.timm_models import pretrained_cfg_of
from search.export._model_card import model_card
from search.export.atomic_folder import CARD
from search.export.selected_trial import Chosen

_LOADING = """\
import metaformer  # registers mf_spec with timm
import timm
import torch

folder = "."  # where this file lies
model = timm.create_model(f"local-dir:{{folder}}", pretrained=True).eval()
settings = timm.data.resolve_model_data_config(model)
transform = timm.data.create_transform(**settings, is_training=False)  # of what to_rgb below gives
with torch.inference_mode():
    logits = model(torch.zeros(1, {channels}, {size}, {size}))
"""


def write(chosen: Chosen, place: Path) -> list[str]:
    """Fills `place`; what to tell the user about it, in lines."""
    chosen.write_parts(place, weights=True)
    text = json.dumps(config(chosen), indent=2, ensure_ascii=False) + "\n"
    (place / "config.json").write_text(text, encoding="utf-8")
    spec = chosen.spec
    loading = _LOADING.format(channels=spec.in_channels, size=spec.image_size)
    card = model_card(chosen, loading, library="timm")
    (place / CARD).write_text(card, encoding="utf-8")
    return []


def config(chosen: Chosen) -> dict[str, Any]:
    """Content of config.json."""
    said = chosen.preprocessing
    size = said["image_size"]
    preprocessing = {
        "input_size": [chosen.spec.in_channels, size, size],
        "interpolation": said["interpolation"],
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": said["mean"],
        "std": said["std"],
    }
    return {
        "architecture": "mf_spec",
        "num_classes": chosen.spec.num_classes,
        "num_features": chosen.spec.stages[-1].width,
        "global_pool": "avg",
        "label_names": chosen.class_names,
        "model_args": {"spec": chosen.spec.to_data()},
        "pretrained_cfg": {
            **pretrained_cfg_of(chosen.spec, chosen.past.registry),
            **preprocessing,
            "tag": f"{chosen.past.study.config.name}-trial{chosen.record.number}",
        },
    }
