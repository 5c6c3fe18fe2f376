"""A study's folder as the process that runs it has it: held, and its study.yaml read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from metaformer.errors import SpecError
from metaformer.yaml_tree import read_yaml
from search.errors import EnvironmentProblem
from search.journal import exclusive
from search.run_folder import RunFolder
from search.study_config import MeasureConfig, SearchConfig, Study, TrainConfig
from search.study_path import require_own_files

_SECTIONS: dict[str, type[BaseModel]] = {
    "measure": MeasureConfig,
    "train": TrainConfig,
    "search": SearchConfig,
}


@contextmanager
def held(folder: RunFolder) -> Iterator[None]:
    """The folder, made where it is not there, for this process alone.

    Where no study came to be, what was made is taken away again.
    """
    made = [path for path in (folder.path, *folder.path.parents) if not path.exists()]
    folder.create()
    require_own_files(folder.path)
    with exclusive(folder.lock, f"{folder.path}: another process is running this study"):
        try:
            yield
        finally:  # still under the lock: whoever was refused leaves another's folder alone
            if made and not folder.study.exists():
                folder.lock.unlink(missing_ok=True)
                with suppress(OSError):  # somebody else put something there
                    for path in made:
                        path.rmdir()


def has_begun(folder: RunFolder) -> bool:
    """Whether a study has begun there; EnvironmentProblem where a file that it needs is gone."""
    if not folder.study.exists():
        if folder.journal.exists():
            raise EnvironmentProblem(
                f"{folder.path} holds a journal and no study.yaml that says what it is of; "
                "restore the file, or choose another --out"
            )
        return False
    made_from_it = (folder.trials, folder.summary, folder.best_spec, folder.best_weights)
    if not folder.journal.exists() and any(file.exists() for file in made_from_it):
        raise EnvironmentProblem(
            f"{folder.journal} is gone, and with it what {folder.path} has tried; "
            "restore the file, or choose another --out"
        )
    return True


def read_own_study(file: Path) -> dict[str, Any]:
    """A run folder's study.yaml, with the defaults of settings that have come up since it was
    written; EnvironmentProblem where it is not one."""
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
