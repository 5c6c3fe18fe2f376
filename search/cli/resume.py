"""`search resume`: continues with the study in its folder, whatever the working directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from search.cli.errors import user_errors
from search.cli.run import run

_OF_RUN = (  # what may change
    "trials", "time_limit", "baselines", "devices", "workers", "plugins", "allow_drift", "as_json",
)  # fmt: skip


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def resume(folder: Path, **asked: Any) -> None:
    """Resume the study in FOLDER: `search run` with its study.yaml and --out."""
    with user_errors():
        from search.storage.study_folder import STUDY_FILE, require_study_folder

        require_study_folder(folder)
        name = _require_own_name(folder)
    out = folder.parent if folder.name == name else folder.resolve().parent
    click.get_current_context().invoke(run, study=str(folder / STUDY_FILE), out=out, **asked)


resume.params += [option for option in run.params if option.name in _OF_RUN]


def _require_own_name(folder: Path) -> str:
    """The study's name; UsageError if its folder has another, in which it cannot continue."""
    from search.errors import UsageError
    from search.study.status import study_name

    name, own = study_name(folder), folder.resolve()
    if name not in (folder.name, own.name):
        raise UsageError(
            f"{folder}: holds the study {name}, which continues in a folder of that name only; "
            f"rename the folder to {own.with_name(name)}"
        )
    return name
