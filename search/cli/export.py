"""`search export`: a trained candidate as files that others can load."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from search.cli.errors import user_errors
from search.cli.interrupt import interrupted
from search.cli.output import echo
from search.cli.plugins import command_registry

FORMS = {  # of --to: the module of search.export that writes it
    "folder": "project_folder",
    "onnx": "onnx_file",
    "timm": "timm_hub",
}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--trial", type=click.IntRange(min=0), help="A complete trial.  [default: the best]")
@click.option(
    "--to",
    "form",
    required=True,
    type=click.Choice(list(FORMS)),
    help="spec and safetensors, one ONNX file, or what timm loads by local-dir:PATH",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The new folder.  [default: NAME-trialN-FORM here]",
)
@click.option("--retrain", is_flag=True, help="Train again where the weights are not on file.")
@click.option("--force", is_flag=True, help="Replace an earlier export.")
@click.option("--plugins", type=click.Path(), help="A plugins.toml; else the working directory's.")
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
    """Write the best of the study in FOLDER, or one --trial, with weights and a model card."""
    with interrupted("Interrupted; nothing was left behind. Again:"), user_errors():
        from search.export.atomic_folder import placed, require_free
        from search.storage.record_reader import read_records, require_exportable
        from search.storage.study_folder import require_study_folder
        from search.study.status import study_name

        require_study_folder(folder)
        number = require_exportable(folder, read_records(folder), trial).number
        place = out or Path(f"{study_name(folder)}-trial{number}-{form}")
        require_free(place, force=force)
        registry = command_registry(plugins)

        from metaformer.mixer_faults import mixer_faults
        from search.export.selected_trial import choose, record_to_export
        from search.study.stored_study import open_past_study

        writer = import_module(f"search.export.{FORMS[form]}")
        if form == "onnx":
            writer.require_packages()
        past = open_past_study(folder, registry)
        record = record_to_export(past, trial)
        chosen = choose(past, record, retrain=retrain, allow_drift=allow_drift, note=_note)
        blame = mixer_faults(past.registry, chosen.spec)
        with placed(place, force=force) as filling, blame:
            lines = writer.write(chosen, filling)
        for line in lines:
            echo(line)
        for file in sorted(place.iterdir()):
            echo(file)


def _note(text: str) -> None:
    echo(text, err=True)
