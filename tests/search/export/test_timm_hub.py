"""A folder that timm loads by `local-dir:`."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from chosen import best_of, snippet
from PIL import Image

from mixers import MixerRegistry
from search.data._splits import to_tensor
from search.export import timm_hub as timm_format
from search.export.selected_trial import Chosen, random_images
from search.training import normalise


@pytest.fixture
def chosen(finished: Path, registry: MixerRegistry) -> Chosen:
    Path("exported").mkdir()
    best = best_of(finished, registry)
    timm_format.write(best, Path("exported"))
    return best


@pytest.mark.usefixtures("chosen")
def test_timm_creates_the_architecture_and_with_pretrained_its_weights(chosen: Chosen) -> None:
    images = random_images(chosen.spec, 2, 0)
    with torch.inference_mode():
        expected = chosen.model()(images)
        loaded = timm.create_model("local-dir:exported", pretrained=True).eval()
        assert torch.equal(loaded(images), expected)
        fresh = timm.create_model("local-dir:exported").eval()
        assert not torch.equal(fresh(images), expected)
    assert fresh.spec.digest == chosen.spec.digest


@pytest.mark.usefixtures("chosen")
def test_the_folder_may_be_moved_and_the_study_deleted(chosen: Chosen) -> None:
    os.rename("exported", "moved")
    loaded = timm.create_model("local-dir:moved", pretrained=True, num_classes=3)
    assert loaded(random_images(chosen.spec, 2, 0)).shape == (2, 3)


@pytest.mark.usefixtures("chosen")
def test_its_class_names_and_its_preprocessing_are_the_studys() -> None:
    model = timm.create_model("local-dir:exported", pretrained=True)
    assert tuple(model.pretrained_cfg["label_names"]) == tuple(str(digit) for digit in range(10))
    settings = timm.data.resolve_model_data_config(model)
    assert tuple(settings["input_size"]) == (3, 8, 8)
    transform = timm.data.create_transform(**settings, is_training=False)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    ours = normalise(to_tensor(image, 8)[None], torch.device("cpu"))[0]
    torch.testing.assert_close(transform(image), ours, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("chosen")
def test_the_cards_own_python_loads_it() -> None:
    code = snippet(Path("exported/README.md"))
    os.chdir("exported")
    names: dict[str, object] = {}
    exec(code, names)
    assert names["logits"].shape == (1, 10)  # type: ignore[attr-defined]
    assert "library_name: timm" in Path("README.md").read_text()
