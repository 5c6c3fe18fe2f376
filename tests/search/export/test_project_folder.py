"""A folder for this project's own code, and its model card."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from chosen import best_of, snippet
from safetensors.torch import load_file

from metaformer import build_backbone, load_spec
from mixers import MixerRegistry
from search.export import project_folder as folder


@pytest.fixture
def exported(finished: Path, registry: MixerRegistry) -> Path:
    place = Path("exported")
    place.mkdir()
    folder.write(best_of(finished, registry), place)
    return place


def test_spec_and_weights_are_those_of_the_study(exported: Path, finished: Path) -> None:
    model = build_backbone(load_spec(exported / "backbone.yaml"))
    model.load_state_dict(load_file(exported / "model.safetensors"))
    assert (exported / "backbone.yaml").read_text() == (finished / "best.yaml").read_text()
    for key, value in load_file(finished / "best.safetensors").items():
        assert torch.equal(model.state_dict()[key], value)


def test_the_cards_own_python_loads_it(exported: Path) -> None:
    code = snippet(exported / "README.md")
    os.chdir(exported)
    names: dict[str, object] = {}
    exec(code, names)
    assert names["logits"].shape == (1, 10)  # type: ignore[attr-defined]


def test_the_card_says_what_was_measured_and_what_it_is_not(exported: Path, finished: Path) -> None:
    text = (exported / "README.md").read_text()
    best = json.loads((finished / "summary.json").read_text())["best"]
    speed = best["throughput"]["train"]
    for words in (
        f"# tiny, trial {best['trial']}",
        f"params: {best['params']:,}",
        f"MACs: {best['macs']:,} for one image of 8×8 pixels",
        f"{speed['images_per_second']:.0f} images/s, interval [{speed['low']:.0f}, "
        f"{speed['high']:.0f}] at 99%, PASS; batch 4, 8×8 pixels, fp32, channels_last, eager",
        f"validation accuracy: {best['validation_accuracy']:.4f} on 359 images of digits",
        f"test accuracy: {best['test_accuracy']:.4f} on 359 images",
        "| metaformer-search | 0.1.0 |",
        '0 "0", 1 "1"',
        f"torch {torch.__version__}",
        "no finished model",
        "stage 0: ",
    ):
        assert words in text
    assert "license:" not in text


def test_the_preprocessing_is_there_for_programs(exported: Path) -> None:
    said = json.loads((exported / "preprocessing.json").read_text())
    assert (said["image_size"], said["interpolation"]) == (8, "bilinear")
    assert said["class_names"] == [str(digit) for digit in range(10)]
