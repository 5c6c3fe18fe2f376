"""`search export`: a trained candidate as files that others can load."""

from __future__ import annotations

from pathlib import Path

import click

from search.cli.errors import user_errors
from search.cli.interrupt import interrupted
from search.cli.output import echo
from search.cli.plugins import command_registry
from search.export.write import FORMATS, write_export


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--trial", type=click.IntRange(min=0), help="Number of a complete trial.  [default: the best]"
)
@click.option(
    "--to",
    "form",
    required=True,
    type=click.Choice(list(FORMATS)),
    help="Format: spec and safetensors, one ONNX file, or what timm loads by local-dir:PATH.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="New folder.  [default: NAME-trialN-FORM here]",
)
@click.option("--retrain", is_flag=True, help="Train again if the weights are not on file.")
@click.option("--force", is_flag=True, help="Replace an earlier export.")
@click.option(
    "--plugins", type=click.Path(), help="plugins.toml to use.  [default: ./plugins.toml]"
)
@click.option("--allow-drift", is_flag=True, help="Export although mixers have changed since.")
def export(
    folder: Path,
    trial: int | None,
    form: str,
    out: Path | None,
    retrain: bool,
    force: bool,
    plugins: str | None,
    allow_drift: bool,
) -> None:
    """Export the best trial of the study in FOLDER, or --trial, with weights and a model card."""
    with interrupted("Interrupted; nothing was left behind. Again:"), user_errors():
        from search.export.atomic_folder import require_free
        from search.storage.record_reader import read_records, require_exportable
        from search.storage.study_folder import require_study_folder
        from search.study.status import study_name

        require_study_folder(folder)
        number = require_exportable(folder, read_records(folder), trial).number
        place = out or Path(f"{study_name(folder)}-trial{number}-{form}")
        require_free(place, force=force)
        registry = command_registry(plugins)

        from search.study.stored_study import open_past_study

        lines = write_export(
            open_past_study(folder, registry), form, place,
            trial=trial, retrain=retrain, force=force, allow_drift=allow_drift, note=_note,
        )  # fmt: skip
        for line in lines:
            echo(line)
        for file in sorted(place.iterdir()):
            echo(file)


def _note(text: str) -> None:
    echo(text, err=True)
