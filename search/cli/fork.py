"""`search fork`: a study of its own in a wider space, with what an older one has tried."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from search.cli.errors import user_errors
from search.cli.output import echo
from search.cli.plugins import command_registry


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("study", required=False, type=click.Path())
@click.option(
    "--name", help="Name of the new study.  [default: STUDY's, or the old one's and -fork]"
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Parent of the new study's folder.  [default: where FOLDER lies]",
)
@click.option(
    "--plugins", type=click.Path(), help="plugins.toml to use.  [default: ./plugins.toml]"
)
def fork(
    folder: Path, study: str | None, name: str | None, out: Path | None, plugins: str | None
) -> None:
    """Begin a new study with the trials of the one in FOLDER, a run folder.

    Its space is that of STUDY, a YAML file, or FOLDER's own with the mixers that are installed
    now. Trials whose backbones the new space holds are carried over and count towards its total.
    """
    with user_errors():
        from search.config.locate import require_study_file
        from search.storage.study_folder import require_study_folder

        require_study_folder(folder)
        if study is not None:
            require_study_file(study)
        registry = command_registry(plugins)

        from search.config.load import load_study
        from search.study.fork import fork as begin

        old = load_study(folder / "study.yaml", {}, device=None)
        device = old.config.measure.device
        new = old if study is None else load_study(study, {}, device=device)
        if name is not None or study is None:
            named = {"name": _legal(name or f"{new.config.name}-fork")}
            new = replace(new, config=new.config.model_copy(update=named))
        begun = begin(old, folder, new, out or folder.parent, registry)
        echo(f"{begun.folder}: {begun.carried} trials carried over")
        if begun.left_behind:
            numbers = ", ".join(str(number) for number in begun.left_behind[:20])
            echo(f"outside the new space: {len(begun.left_behind)} trials: {numbers}")
        if begun.to_try_again:
            numbers = ", ".join(str(number) for number in begun.to_try_again)
            echo(f"left behind, since they failed with a mixer that was set aside: {numbers}")
        where = "" if begun.folder.parent == Path("runs") else f" --out {begun.folder.parent}"
        total = max(new.config.search.trials, begun.carried + 1)
        echo(f"next: search run {begun.folder}/study.yaml{where} --trials {total}")


def _legal(name: str) -> str:
    from search.config.locate import require_legal_name
    from search.errors import UsageError

    try:
        return require_legal_name(name)
    except ValueError as error:
        raise UsageError(f"--name: {error}") from None
