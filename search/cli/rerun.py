"""`search rerun`: a trial rebuilt, measured and trained again from its record."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from search.cli.errors import ExitCode, user_errors
from search.cli.interrupt import interrupted
from search.cli.output import echo
from search.cli.plugins import command_registry


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("trial", type=click.IntRange(min=0))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Also write the new record to this file."
)
@click.option(
    "--accuracy-within",
    type=click.FloatRange(min=0, max=1),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Allowed difference in accuracy; one thread of the same CPU repeats it exactly.",
)
@click.option(
    "--plugins", type=click.Path(), help="plugins.toml to use.  [default: ./plugins.toml]"
)
@click.option("--allow-drift", is_flag=True, help="Rerun although mixers have changed since.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: both records compared.")
def rerun(
    folder: Path,
    trial: int,
    out: Path | None,
    accuracy_within: float,
    plugins: str | None,
    allow_drift: bool,
    as_json: bool,
) -> None:
    """Rebuild TRIAL of the study in FOLDER from its record, measure and train it again, compare.

    The study is left as it is. Exit code 0 if the trial comes out as on record: digest, params,
    MACs and state equal, throughputs within each other's intervals, accuracy equal; else 3.
    """
    with interrupted("Interrupted; the study is as it was. Again:"), user_errors():
        from search.storage.record_reader import read_records, require_rerunnable
        from search.storage.study_folder import require_study_folder

        require_study_folder(folder)
        _require_writable(out)
        require_rerunnable(folder, read_records(folder), trial)
        registry = command_registry(plugins)

        from search.study.rerun import rerun as run_again
        from search.study.stored_study import open_past_study

        past = open_past_study(folder, registry)
        recorded = past.trial(trial)
        spec, drift = past.spec_of(recorded, allow_drift=allow_drift)
        for line in drift:
            _note(f"changed since the study began: {line}")
        done = run_again(
            recorded,
            spec,
            past.evaluator(_note, allow_drift=allow_drift),
            accuracy_within=accuracy_within,
        )
        line = json.dumps(done.record.to_data(), separators=(",", ":"))
        if out is not None:
            out.write_text(line + "\n", encoding="utf-8")
        if as_json:
            echo(json.dumps(done.to_data(recorded), indent=2))
        else:
            _print(trial, done, line)
    if not done.agrees:
        sys.exit(ExitCode.DIFFERS)


def _print(trial: int, done: Any, line: str) -> None:
    for comparison in done.comparisons:
        echo(str(comparison))
    verdict = "comes out as on record" if done.agrees else "does not come out as on record"
    echo(f"trial {trial} {verdict}; the new record:")
    echo(line)


def _require_writable(out: Path | None) -> None:
    """UsageError if the file cannot come to be, said before minutes are spent."""
    from mixers.errors import did_you_mean, nearest_path
    from search.errors import UsageError

    if out is None:
        return
    if out.exists():
        raise UsageError(f"--out {out}: is there already; allowed: a new file")
    if not out.parent.is_dir():
        close = nearest_path(out.parent, folder=True)
        raise UsageError(f"--out {out}: no such folder: {out.parent}{did_you_mean(close)}")


def _note(text: str) -> None:
    echo(text, err=True)
