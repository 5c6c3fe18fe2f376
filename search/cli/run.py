"""`search run`: from one command to a measured, trained, rebuildable backbone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from search.cli.budgets import ThroughputBudget
from search.cli.errors import ExitCode, stop, user_errors
from search.cli.interrupt import Interrupt, command_line, interrupted_before_the_study
from search.cli.output import echo
from search.cli.parameters import CudaDevices, Device, Duration
from search.cli.study_options import observing, prepared

_positive = click.IntRange(min=1)


@click.command()
@click.argument("study", required=False, type=click.Path())
@click.option(
    "--budget-throughput",
    multiple=True,
    type=ThroughputBudget(),
    metavar="[MODE:]N",
    help="Required images/s, e.g. 900 or infer:2900; may be given once per mode.",
)
@click.option(
    "--mode",
    type=click.Choice(["train", "infer"]),
    help="Mode of the budget: training step or forward pass.  [default: train]",
)
@click.option("--trials", type=_positive, help="Total number of candidates of the study.")
@click.option(
    "--time-limit",
    type=Duration(),
    metavar="T",
    help="Start no candidate after this time: seconds, or 15m, 2h.",
)
@click.option("--data", help="Data set: digits, folder:PATH, timm:NAME or timm:NAME@ROOT.")
@click.option(
    "--device",
    type=Device(),
    help="Device: auto, cpu, cuda or cuda:N.  [default: the study's, or auto]",
)
@click.option(
    "--devices",
    type=CudaDevices(),
    metavar="LIST",
    help="CUDA devices of the same model, e.g. 0-3 or 0,2.",
)
@click.option(
    "--workers",
    type=_positive,
    help="Number of worker processes; each candidate is measured alone.  "
    "[default: one for each device]",
)
@click.option("--threads", type=_positive, help="torch threads on a CPU.  [default: 1]")
@click.option("--batch-size", type=_positive, help="Batch size of the measured step.")
@click.option(
    "--image-size", type=click.IntRange(4, 8192), help="Image size of the measured step in pixels."
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "bf16", "fp16"]),
    help="Precision of the measured step.",
)
@click.option(
    "--train-image-size", type=click.IntRange(4, 8192), help="Image size of the training in pixels."
)
@click.option("--epochs", type=_positive, help="Epochs per candidate.")
@click.option(
    "--inherit",
    is_flag=True,
    help="Warm-start each training from the nearest trained candidate.",
)
@click.option(
    "--trainer",
    metavar="NAME",
    help="Custom trainer: an entry point or a name under [trainers] in plugins.toml.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**31 - 1), help="Random seed of proposals and trainings."
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="SPEC",
    help="Network to compare with, measured and trained like a candidate: a YAML file, a known "
    "backbone, timm:NAME or torchvision:NAME; may be repeated.",
)
@click.option(
    "--plugins", type=click.Path(), help="plugins.toml to use.  [default: ./plugins.toml]"
)
@click.option(
    "--allow-drift",
    is_flag=True,
    help="Resume although mixers or the trainer have changed since the study began.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="runs",
    show_default=True,
    help="Parent of the study's folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of a table.")
def run(
    study: str | None,
    out: Path,
    device: str | None,
    devices: tuple[str, ...] | None,
    workers: int | None,
    plugins: str | None,
    time_limit: float | None,
    as_json: bool,
    allow_drift: bool,
    **asked: Any,
) -> None:
    """Search for the most accurate backbone that reaches N images per second on this device.

    STUDY is a YAML file; without one, a default study for the device is used. The same command in
    the same place resumes an interrupted study; no finished candidate is lost.
    """
    with interrupted_before_the_study(), user_errors():
        begin = prepared(study, out, device, devices, workers, plugins, allow_drift, asked)

        from search.errors import Interrupted

        interrupt = Interrupt()
        with observing(as_json) as observer, interrupt.listening(observer):
            runner = begin(observer=observer, should_stop=interrupt.is_set)
            folder = out / runner.study.config.name
            try:
                summary = runner.run(time_limit=time_limit)
            except (KeyboardInterrupt, Interrupted):
                stop(_how_to_go_on(folder), ExitCode.INTERRUPTED)
            except OSError as error:
                stop(_no_room(error, folder), ExitCode.ENVIRONMENT)
        _finish(summary, folder, as_json)


def _finish(summary: dict[str, Any], folder: Path, as_json: bool) -> None:
    """Prints the result and leaves with the exit code that it means."""
    from search.cli.result import describe_reasons, failed, print_result

    if as_json:
        echo(json.dumps(summary, indent=2))
    else:
        print_result(summary, folder, command_line())
    if summary["outcome"] == "interrupted":
        stop(_how_to_go_on(folder), ExitCode.INTERRUPTED)
    if summary["outcome"] == "machine busy":
        words = (
            f"error: others compute on {summary['device']}, and no valid measurement could be had; "
            f"finished candidates are in {folder}. When it is idle, continue: {command_line()}"
        )
        stop(words, ExitCode.ENVIRONMENT)
    if failed(summary):
        log = folder / "errors.log"
        seen = f"\ntracebacks: {log}" if log.exists() else ""
        words = f"error: too many candidates failed:\n{describe_reasons(summary)}{seen}"
        stop(words, ExitCode.TOO_MANY_FAILURES)
    if not summary["feasible"]:
        sys.exit(ExitCode.NOTHING_FEASIBLE)


def _no_room(error: OSError, folder: Path) -> str:
    """A folder that cannot be written, a disk that is full: what is kept, and how to continue."""
    words = f"error: {error.filename or folder}: {error.strerror or error}"
    if not (folder / "journal.log").exists():
        return words
    return f"{words}; finished candidates are kept in {folder}. To resume then: {command_line()}"


def _how_to_go_on(folder: Path) -> str:
    return f"Interrupted. Finished candidates are in {folder}. To resume: {command_line()}"
