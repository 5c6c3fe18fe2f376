"""Export of a trial in one of the formats, as `search export` and `StudyResult.export` do it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from search.errors import UsageError

if TYPE_CHECKING:
    from search.study.stored_study import PastStudy

FORMATS = {  # of --to: the module of search.export that writes it
    "folder": "project_folder",
    "onnx": "onnx_file",
    "timm": "timm_hub",
}


def write_export(
    past: PastStudy,
    form: str,
    place: Path,
    *,
    trial: int | None = None,
    retrain: bool = False,
    force: bool = False,
    allow_drift: bool = False,
    note: Callable[[str], None] = lambda _text: None,
) -> list[str]:
    """Write one trial of a study into the new folder `place`.

    Args:
        past: The study.
        form: One of `FORMATS`.
        place: The new folder. It appears as a whole or not at all.
        trial: Number of a complete trial; the best by default.
        retrain: Train again if the weights are not on file.
        force: Replace an earlier export.
        allow_drift: Export although mixers have changed since.
        note: Receives messages for the user.

    Returns:
        Lines about the export, such as the difference of an ONNX file's outputs.

    Raises:
        UsageError: There is no such trial, its weights are not on file, or `place` is taken.
        EnvironmentProblem: A mixer, its device or a package is not here.
    """
    from metaformer.mixer_faults import mixer_faults
    from search.export.atomic_folder import placed
    from search.export.selected_trial import choose, record_to_export

    if form not in FORMATS:
        raise UsageError(f"to: got {form!r}; allowed: {', '.join(FORMATS)}")
    writer = import_module(f"search.export.{FORMATS[form]}")
    if form == "onnx":
        writer.require_packages()
    record = record_to_export(past, trial)
    chosen = choose(past, record, retrain=retrain, allow_drift=allow_drift, note=note)
    blame = mixer_faults(past.registry, chosen.spec)
    with placed(place, force=force) as filling, blame:
        lines: list[str] = writer.write(chosen, filling)
    return lines
