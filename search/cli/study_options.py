"""Build a `StudyRunner` and a progress reporter from the options of a command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from search.cli.budgets import budgets_by_mode
from search.cli.output import echo
from search.cli.plugins import command_registry

if TYPE_CHECKING:
    from mixers.plugins_file import PluginRules
    from search.study.runner import StudyRunner
    from search.training import TrainerEntry


def prepared(
    study: str | None,
    out: Path,
    device: str | None,
    devices: tuple[str, ...] | None,
    workers: int | None,
    plugins: str | None,
    allow_drift: bool,
    asked: dict[str, Any],
) -> Callable[..., StudyRunner]:
    """Return a function that builds the runner of the study, given an observer and a stop
    condition.

    UsageError, SpecError or EnvironmentProblem for what is wrong in it.
    """
    # torch takes seconds to import: what can be said without it is said first
    _require_plain_text(out)
    _require_files(study, asked["data"])
    asked_devices = _devices(device, devices)
    registry = command_registry(plugins)
    overrides = _overrides(asked)
    _require_sound_settings(study, overrides, asked_devices, registry.rules)

    import torch

    from search.config.load import load_study
    from search.study.runner import StudyRunner
    from search.workers.placement import device_of_each, require_alike

    chosen = require_alike(asked_devices)
    named = str(chosen[0]) if chosen else None
    settings = load_study(study, overrides, device=named)
    trainer = _trainer(settings.config.train.trainer, registry.rules)
    target = torch.device(settings.config.measure.device)
    if target.type == "cpu":
        torch.set_num_threads(settings.config.measure.threads)
    return partial(
        StudyRunner,
        study=settings,
        out=out,
        registry=registry,
        device=target,
        allow_drift=allow_drift,
        trainer=trainer,
        worker_devices=device_of_each(workers, chosen or (target,)),
    )


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
    """UsageError if the study file is not there, or no data set has that name."""
    from search.config.locate import require_study_file
    from search.data.source import read_source
    from search.errors import UsageError

    if study is not None:
        require_study_file(study)
    if data is not None:
        try:
            read_source(data)
        except UsageError as error:
            raise UsageError(f"--data: {error}") from None


def _require_sound_settings(
    study: str | None, overrides: dict[str, Any], devices: Sequence[str], rules: PluginRules
) -> None:
    """UsageError or SpecError for what is wrong in a study on a CPU, found without torch.

    If the machine may have a CUDA device and the study does not ask for the CPU, nothing is
    decided here: which settings are legal depends on the device.
    """
    from search.config.load import asked_device, load_study
    from search.devices import may_have_cuda
    from search.errors import UsageError
    from search.evaluation.model_names import require_spec

    device = devices[0] if devices else asked_device(study, overrides)
    if device != "cpu" and (device != "auto" or may_have_cuda()):
        return
    config = load_study(study, overrides, device="cpu").config
    if config.train.trainer is not None:
        from search.training import find_trainer

        find_trainer(config.train.trainer, rules)
    for name in config.search.baselines:
        try:
            require_spec(name)
        except UsageError as error:
            raise UsageError(f"search.baselines: {error}") from None


def _trainer(name: str | None, rules: PluginRules) -> TrainerEntry | None:
    """The trainer that the study names, imported, so that a mistake in it is said first."""
    if name is None:
        return None
    from search.training import find_trainer

    trainer = find_trainer(name, rules)
    trainer.function  # noqa: B018  # importing it is what may fail
    echo(f"training is by {trainer.label}", err=True)
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
            "inherit": asked["inherit"] or None,
            "trainer": asked["trainer"],
        },
        "search": {
            "trials": asked["trials"],
            "seed": asked["seed"],
            "baselines": list(dict.fromkeys(asked["baselines"])) or None,
        },
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
def observing(as_json: bool) -> Iterator[Any]:
    from rich.console import Console

    from search.cli.progress import LiveObserver, PlainObserver

    console = Console(stderr=True)
    plain = PlainObserver()
    context = nullcontext(plain) if as_json or not console.is_terminal else LiveObserver(console)
    with context as observer:
        yield observer
