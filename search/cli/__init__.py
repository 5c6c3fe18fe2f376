"""The command line: parse, call, print.

Nothing here imports torch, timm, optuna, numpy or pydantic before a command needs it.
"""

from __future__ import annotations

from typing import Any

import click

from mixers.hide_damaged import hide_damaged_distributions
from search.cli.doctor import doctor
from search.cli.errors import ExitCode, stop
from search.cli.export import export
from search.cli.fork import fork
from search.cli.measure import measure
from search.cli.mixers import mixers
from search.cli.output import echo
from search.cli.plan import plan
from search.cli.plugins import plugins
from search.cli.postponed import postpone
from search.cli.rerun import rerun
from search.cli.resume import resume
from search.cli.run import run
from search.cli.spec import spec
from search.cli.status import status
from search.cli.zoo import zoo

EXIT_CODES = """\b
Exit codes:
  0    done
  2    invalid usage, spec, study or data
  3    finished, nothing meets the budget; or a rerun differs
  4    environment problem: device, installation or disk
  5    too many failed trials
  130  interrupted; the same command resumes"""


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            stop("Interrupted.", ExitCode.INTERRUPTED)


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES
)
@click.version_option(package_name="metaformer-search", prog_name="search")
def main() -> None:
    """Find the backbone with the best accuracy above a measured throughput."""
    postpone("metaformer")
    for one in hide_damaged_distributions():
        echo(f"note: damaged distribution {one.name}: {one.reason}; passed over", err=True)


def _show_whole_summaries(group: click.Group) -> None:
    """Have `--help` list the first sentence of each command, which click would cut."""
    for command in group.commands.values():
        first, _, _ = (command.help or "").partition("\n\n")
        sentence, stop, _ = " ".join(first.split()).partition(". ")
        command.short_help = sentence + ("." if stop else "")
        if isinstance(command, click.Group):
            _show_whole_summaries(command)


for _command in (
    run, doctor, export, fork, measure, mixers, plan, plugins, rerun, resume, spec, status, zoo
):  # fmt: skip
    main.add_command(_command)
_show_whole_summaries(main)
