"""The command line: parse, call, print.

Nothing here imports torch, timm, optuna, numpy or pydantic before a command needs it.
"""

from __future__ import annotations

import click

from search.cli.doctor import doctor
from search.cli.export import export
from search.cli.fork import fork
from search.cli.measure import measure
from search.cli.mixers import mixers
from search.cli.plan import plan
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
  2    usage, spec, study or data that cannot be used
  3    finished, and nothing makes the budget; a rerun that differs
  4    this machine, what is installed on it, or its disk
  5    too many failed trials
  130  interrupted; the same command goes on"""


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(package_name="metaformer-search", prog_name="search")
def main() -> None:
    """Find the backbone with the best accuracy above a measured throughput."""
    postpone("metaformer")


main.add_command(run)
main.add_command(doctor)
main.add_command(export)
main.add_command(fork)
main.add_command(measure)
main.add_command(mixers)
main.add_command(plan)
main.add_command(rerun)
main.add_command(resume)
main.add_command(spec)
main.add_command(status)
main.add_command(zoo)
