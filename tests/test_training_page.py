"""docs/training.md: what it shows can be said; its recipe is run by tests/search/training."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from metaformer.yaml_tree import read_yaml
from search.training.config import Augmentation, TrainConfig

TEXT = (Path(__file__).parents[1] / "docs" / "training.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def test_the_settings_that_the_page_shows_are_legal() -> None:
    (text,) = blocks("yaml")
    Path("page.yaml").write_text(text)
    TrainConfig.model_validate(read_yaml("page.yaml").plain()["train"])


def test_every_setting_stands_on_the_page() -> None:
    for field in (*TrainConfig.model_fields, *Augmentation.model_fields):
        assert re.search(rf"`(\w*\.)?{field}`|^  {field}: ", TEXT, re.MULTILINE), field


def test_the_tables_of_the_page_are_toml() -> None:
    trainers, points = map(tomllib.loads, blocks("toml"))
    assert trainers == {"schema": 1, "trainers": {"mine": "recipes.py:train"}}
    assert list(points["project"]["entry-points"]) == ["metaformer.trainers"]
