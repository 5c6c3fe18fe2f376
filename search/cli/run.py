"""`search run`: from one command to a measured, trained, rebuildable backbone."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search.cli.budgets import ThroughputBudget, budgets_by_mode
from search.cli.errors import ExitCode, stop, user_errors
from search.cli.interrupt import Interrupt, command_line, interrupted_before_the_study
from search.cli.parameters import CudaDevices, Device, Duration

if TYPE_CHECKING:
    from search.training import TrainerEntry


_positive = click.IntRange(min=1)


@click.command()
@click.argument("study", required=False, type=click.Path())
@click.option(
    "--budget-throughput",
    multiple=True,
    type=ThroughputBudget(),
    metavar="[MODE:]N",
    help="Images/s that a candidate must reach, such as 900 or infer:2900; once a mode.",
)
@click.option(
    "--mode",
    type=click.Choice(["train", "infer"]),
    help="What must reach it: a training step or the forward pass.  [default: train]",
)
@click.option("--trials", type=_positive, help="The study's total number of candidates.")
@click.option(
    "--time-limit",
    type=Duration(),
    metavar="T",
    help="Begin no candidate after this long: seconds, or 15m, 2h.",
)
@click.option("--data", help="digits, folder:PATH, timm:NAME or timm:NAME@ROOT.")
@click.option(
    "--device", type=Device(), help="auto, cpu, cuda or cuda:N.  [default: the study's, or auto]"
)
@click.option(
    "--devices", type=CudaDevices(), metavar="LIST", help="Several of CUDA, alike: 0-3 or 0,2."
)
@click.option(
    "--workers",
    type=_positive,
    help="Candidates trained at a time; each is measured alone.  [default: one for each device]",
)
@click.option("--threads", type=_positive, help="Threads of torch on a CPU.  [default: 1]")
@click.option("--batch-size", type=_positive, help="Of the measured step.")
@click.option("--image-size", type=click.IntRange(4, 8192), help="Pixels, of the measured step.")
@click.option(
    "--precision", type=click.Choice(["fp32", "tf32", "bf16", "fp16"]), help="Of the measured step."
)
@click.option("--train-image-size", type=click.IntRange(4, 8192), help="Pixels, of the training.")
@click.option("--epochs", type=_positive, help="Of each training.")
@click.option(
    "--trainer", metavar="NAME", help="A recipe of others: an entry point, or of [trainers]."
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="Of proposals and trainings.")
@click.option("--plugins", type=click.Path(), help="A plugins.toml; else the working directory's.")
@click.option(
    "--allow-drift",
    is_flag=True,
    help="Go on although mixers or the trainer have changed since the study began.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="runs",
    show_default=True,
    help="Folder that holds the study's folder.",
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
    the same place goes on with a study that was left, and loses no finished candidate.
    """
    with interrupted_before_the_study(), user_errors():
        from mixers import load_registry

        # torch takes seconds to import: what can be said without it is said first
        _require_plain_text(out)
        _require_files(study, asked["data"])
        asked_devices = _devices(device, devices)
        registry = load_registry(plugins)

        import torch

        from search.errors import Interrupted
        from search.study import StudyRunner
        from search.study_file import load_study
        from search.worker_devices import device_of_each, require_alike

        chosen = require_alike(asked_devices)
        settings = load_study(study, _overrides(asked), device=next(map(str, chosen), None))
        trainer = _trainer(settings.config.train.trainer, plugins)
        target = torch.device(settings.config.measure.device)
        if target.type == "cpu":
            torch.set_num_threads(settings.config.measure.threads)
        folder = out / settings.config.name
        interrupt = Interrupt()
        with _observer(as_json) as observer, interrupt.listening(observer):
            runner = StudyRunner(
                study=settings,
                out=out,
                registry=registry,
                device=target,
                observer=observer,
                should_stop=interrupt.is_set,
                allow_drift=allow_drift,
                trainer=trainer,
                worker_devices=device_of_each(workers, chosen or (target,)),
            )
            try:
                summary = runner.run(time_limit=time_limit)
            except (KeyboardInterrupt, Interrupted):
                stop(_how_to_go_on(folder), ExitCode.INTERRUPTED)
            except OSError as error:
                stop(_no_room(error, folder), ExitCode.ENVIRONMENT)
        _finish(summary, folder, as_json)


def _devices(one: str | None, several: tuple[str, ...] | None) -> tuple[str, ...]:
    if one is not None and several is not None:
        raise click.UsageError("--device names one device and --devices several; give one of both")
    return several or (() if one is None else (one,))


def _require_plain_text(out: Path) -> None:
    try:
        str(out).encode()
    except UnicodeEncodeError:
        raise click.UsageError(f"--out: got {str(out)!r}; allowed: a path in UTF-8") from None


def _require_files(study: str | None, data: str | None) -> None:
    """UsageError where the study file is not there, or no data set has that name."""
    from search.data.source import read_source
    from search.errors import UsageError
    from search.study_path import require_study_file

    if study is not None:
        require_study_file(study)
    if data is not None:
        try:
            read_source(data)
        except UsageError as error:
            raise UsageError(f"--data: {error}") from None


def _trainer(name: str | None, plugins: str | None) -> TrainerEntry | None:
    """The trainer that the study names, imported, so that a mistake in it is said first."""
    if name is None:
        return None
    from mixers.plugins_file import read_plugin_rules
    from search.training import find_trainer

    trainer = find_trainer(name, read_plugin_rules(plugins))
    trainer.function  # noqa: B018  # importing it is what may fail
    click.echo(f"training is by {trainer.label}", err=True)
    return trainer


def _overrides(asked: dict[str, Any]) -> dict[str, Any]:
    """The command line as a study file would say it; what was not asked for is left out."""
    sections: dict[str, dict[str, Any]] = {
        "measure": {
            "batch_size": asked["batch_size"],
            "image_size": asked["image_size"],
            "precision": asked["precision"],
            "threads": asked["threads"],
        },
        "train": {
            "data": asked["data"],
            "image_size": asked["train_image_size"],
            "epochs": asked["epochs"],
            "trainer": asked["trainer"],
        },
        "search": {"trials": asked["trials"], "seed": asked["seed"]},
    }
    if asked["mode"] is not None and not asked["budget_throughput"]:
        raise click.UsageError(
            "--mode says which step must reach --budget-throughput; give both, or write "
            "budget: {infer: N} into the study file"
        )
    said = {
        section: {key: value for key, value in values.items() if value is not None}
        for section, values in sections.items()
    }
    overrides: dict[str, Any] = {section: values for section, values in said.items() if values}
    if asked["budget_throughput"]:
        overrides["budget"] = budgets_by_mode(asked["budget_throughput"], asked["mode"])
    return overrides


@contextmanager
def _observer(as_json: bool) -> Iterator[Any]:
    from rich.console import Console

    from search.cli.progress import LiveObserver, PlainObserver

    console = Console(stderr=True)
    plain = PlainObserver()
    context = nullcontext(plain) if as_json or not console.is_terminal else LiveObserver(console)
    with context as observer:
        yield observer


def _finish(summary: dict[str, Any], folder: Path, as_json: bool) -> None:
    """Prints the result and leaves with the exit code that it means."""
    from search.cli.result import describe_reasons, failed, print_result

    if as_json:
        click.echo(json.dumps(summary, indent=2))
    else:
        print_result(summary, folder, command_line())
    if summary["outcome"] == "interrupted":
        stop(_how_to_go_on(folder), ExitCode.INTERRUPTED)
    if summary["outcome"] == "machine busy":
        words = (
            f"error: others compute on {summary['device']}, and no valid measurement could be had; "
            f"finished candidates are in {folder}. When it is idle, go on: {command_line()}"
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
    """A folder that cannot be written, a disk that is full: what is kept, and how to go on."""
    words = f"error: {error.filename or folder}: {error.strerror or error}"
    if not (folder / "journal.log").exists():
        return words
    return f"{words}; finished candidates are kept in {folder}. To go on then: {command_line()}"


def _how_to_go_on(folder: Path) -> str:
    return f"Interrupted. Finished candidates are in {folder}. To go on: {command_line()}"
