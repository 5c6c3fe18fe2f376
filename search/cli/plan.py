"""`search plan`: what a study would be, before it is run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from search.cli.errors import ExitCode, user_errors
from search.cli.interrupt import interrupted
from search.cli.output import echo
from search.cli.run import run
from search.cli.study_options import observing, prepared

_NOT_OF_A_PLAN = ("time_limit", "as_json")


@click.command()
@click.argument("study", required=False, type=click.Path())
@click.option(
    "--measurements",
    type=click.IntRange(min=0),
    default=24,
    show_default=True,
    help="Number of candidates to measure; 0 uses counts and lower bounds only.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def plan(
    study: str | None,
    measurements: int,
    as_json: bool,
    out: Path,
    device: str | None,
    devices: tuple[str, ...] | None,
    workers: int | None,
    plugins: str | None,
    allow_drift: bool,
    **asked: Any,
) -> None:
    """Preview `search run` with the same arguments: its space, its cost, its time.

    Draws candidates from the space, counts them, measures a few and times some steps of their
    training. Writes nothing. Exit code 3 if no candidate that was drawn meets the budget.
    """
    with interrupted("Interrupted; nothing was written. Again:"), user_errors():
        begin = prepared(study, out, device, devices, workers, plugins, allow_drift, asked)

        from search.planning.plan import is_hopeless, plan_study

        with observing(as_json) as observer:
            runner = begin(observer=observer, should_stop=lambda: False)
            found = plan_study(runner, measurements=measurements)
        if as_json:
            echo(json.dumps(found, indent=2))
        else:
            _print(found)
    if is_hopeless(found):
        sys.exit(ExitCode.NOTHING_FEASIBLE)


plan.params += [option for option in run.params if option.name not in (*_NOT_OF_A_PLAN, "study")]


def _print(found: dict[str, Any]) -> None:
    from search.cli.plan_text import lines_of

    for line in lines_of(found):
        echo(line)
