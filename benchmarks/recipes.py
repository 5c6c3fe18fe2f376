"""Recipes of the training side by side: fixed backbones, the same seeds, test accuracy.

    python benchmarks/recipes.py --data folder:../shared/data/clothing64 --seeds 3 --out FILE

Every recipe changes only what it names in the default `train` section of a CPU study at 64 pixels.
Seed by seed, each backbone is trained by each recipe in turn, and scored on the test split after
the last epoch: nothing is selected.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from provenance import provenance

from metaformer.backbone import build_backbone
from metaformer.spec import BackboneSpec
from mixers import load_registry
from search.config.load import load_study
from search.data import Splits, load_data
from search.training import accuracy, train_and_score
from search.training.config import TrainConfig

RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "ema": {"ema_decay": 0.99},
    "crops": {"augmentation": {"smallest_crop": 0.5}},
    "crops, color, ema": {
        "ema_decay": 0.99,
        "augmentation": {"smallest_crop": 0.5, "color": 0.3},
    },
}
STAGES: dict[str, list[dict[str, Any]]] = {
    "convolutions": [
        {"depth": 1, "width": 24, "mixer": {"large_kernel_dw": {"kernel_size": 7}}},
        {"depth": 1, "width": 48, "mixer": {"inception_dw": {"band_kernel": 5}}},
        {"depth": 1, "width": 64, "mixer": {"separable_conv": {"kernel_size": 3}}},
    ],
    "windows": [
        {"depth": 1, "width": 24, "mixer": {"window_attention": {"window": 4}}},
        {"depth": 1, "width": 48, "mixer": {"window_attention": {"window": 4}}},
        {"depth": 1, "width": 64, "mixer": {"window_attention": {"window": 2}}},
    ],
}
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="Else the default study's.")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    base = default_settings(arguments.data, arguments.epochs)
    data = load_data(base["data"], base["image_size"])
    results: dict[str, Any] = {"provenance": provenance(), "train": base, "recipes": RECIPES}
    results["runs"] = []
    for seed in range(arguments.seeds):
        for backbone in STAGES:
            for recipe in RECIPES:
                run = trained(backbone, recipe, base, data, seed)
                results["runs"].append(run)
                print(json.dumps(run), flush=True)
        results["summary"] = summary(results["runs"])
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results["summary"], indent=2))


def default_settings(data: str, epochs: int | None) -> dict[str, Any]:
    """The default `train` section of a CPU study at 64 pixels."""
    train: dict[str, Any] = {"data": data}
    if epochs is not None:
        train["epochs"] = epochs
    overrides = {"budget": {"train": 1}, "measure": {"image_size": 64}, "train": train}
    config = load_study(None, overrides, device="cpu").config
    return config.train.model_dump(mode="json")


def trained(
    backbone: str, recipe: str, base: dict[str, Any], data: Splits, seed: int
) -> dict[str, Any]:
    changes = RECIPES[recipe]
    augmentation = {**base["augmentation"], **changes.get("augmentation", {})}
    config = TrainConfig.model_validate({**base, **changes, "augmentation": augmentation})
    torch.manual_seed(seed)
    model = build_backbone(spec_of(backbone, data), load_registry(), device=CPU)
    score = train_and_score(model, data, config, device=CPU, seed=seed)
    return {
        "backbone": backbone,
        "recipe": recipe,
        "seed": seed,
        "test_accuracy": accuracy(model, data.test, config, device=CPU),
        "validation_accuracy_by_epoch": list(score.by_epoch),
    }


def spec_of(backbone: str, data: Splits) -> BackboneSpec:
    shared = {"block": "metanext", "norm": "batch_norm", "mlp": {"kind": "conv", "ratio": 2}}
    downsample = {"kernel_size": 2, "stride": 2, "norm": "batch_norm"}
    stages = [{**shared, **stage} for stage in STAGES[backbone]]
    return BackboneSpec.model_validate(
        {
            "name": backbone,
            "num_classes": data.num_classes,
            "image_size": data.image_size,
            "stem": {"kernel_size": 4, "stride": 4, "norm": "batch_norm"},
            "stages": [stages[0], *({**stage, "downsample": downsample} for stage in stages[1:])],
            "head": {"kind": "linear", "norm": "layer_norm"},
        }
    )


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each recipe over backbones and seeds: mean test accuracy, its difference from the default
    on the same backbone and seed: mean, lowest, highest."""
    default = {
        (run["backbone"], run["seed"]): run["test_accuracy"]
        for run in runs
        if run["recipe"] == "default"
    }
    table = {}
    for recipe in RECIPES:
        own = [run for run in runs if run["recipe"] == recipe]
        gains = [run["test_accuracy"] - default[run["backbone"], run["seed"]] for run in own]
        table[recipe] = {
            "mean_test_accuracy": round(statistics.mean(run["test_accuracy"] for run in own), 4),
            "mean_gain": round(statistics.mean(gains), 4),
            "lowest_gain": round(min(gains), 4),
            "highest_gain": round(max(gains), 4),
        }
    return table


if __name__ == "__main__":
    main()
