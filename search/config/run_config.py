"""The study.yaml of a run folder: completed by the defaults of settings that came up since."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from metaformer.errors import SpecError
from metaformer.yaml_tree import read_yaml
from search.config.study import MeasureConfig, SearchConfig, Study
from search.errors import EnvironmentProblem
from search.training.config import TrainConfig

_SECTIONS: dict[str, type[BaseModel]] = {
    "measure": MeasureConfig,
    "train": TrainConfig,
    "search": SearchConfig,
}


def read_own_study(file: Path) -> dict[str, Any]:
    """A run folder's study.yaml, with the defaults of settings that have come up since it was
    written; EnvironmentProblem if it is not one."""
    refusal = f"{file} is not what `search run` wrote; restore it, or choose another --out"
    try:
        old = read_yaml(file).plain()
    except SpecError as error:
        raise EnvironmentProblem(f"{refusal}\n{error}") from None
    if not isinstance(old, dict) or not _is_own_study(old):
        raise EnvironmentProblem(refusal)
    return {"data": None, **old, **_completed(old)}


def _is_own_study(old: dict[str, Any]) -> bool:
    """Return whether the parts that are used unread are of the right types."""
    search = old.get("search")
    baselines = search.get("baselines", []) if isinstance(search, dict) else None
    return (
        Study.is_frozen_mixers(old.get("mixers"))
        and Study.is_frozen_data(old.get("data"))
        and isinstance(baselines, list)
        and all(isinstance(name, str) for name in baselines)
    )


def _completed(old: dict[str, Any]) -> dict[str, Any]:
    """The sections of `old` with all settings there are; not those that hold what is unknown."""
    found = {}
    for name, section in _SECTIONS.items():
        with suppress(ValidationError):
            found[name] = section.model_validate(old.get(name)).model_dump(mode="json")
    return found
