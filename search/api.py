"""Python API: run a study, read its result, measure a model.

`search.run`, `search.load_result` and `search.measure` are these functions (docs/python.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from metaformer import Backbone
from mixers import MixerRegistry, load_registry
from search.config.load import load_study
from search.config.study import Study
from search.devices import require_device
from search.errors import UsageError
from search.evaluation.measurer import Measurer
from search.export.selected_trial import choose, record_to_export
from search.export.write import write_export
from search.scheduling.pareto import front_of
from search.storage.progress import Callback, Callbacks, Observer
from search.storage.records import TrialRecord
from search.study.runner import StudyRunner
from search.study.status import read_summary
from search.study.stored_study import PastStudy, open_past_study
from search.study.summary import best_of
from search.throughput import Measurement, MeasurementProtocol
from search.training import find_trainer
from search.workers.placement import device_of_each

__all__ = ["Callback", "StudyResult", "load_result", "measure", "run"]


@dataclass(frozen=True)
class StudyResult:
    """Result of a study, finished or not, read from its folder.

    Attributes:
        folder: The study's folder.
        summary: Content of summary.json, such as `outcome` and `budget`; empty before the first
            trial has finished.
        trials: Records of all trials, in the order in which they ended.
    """

    folder: Path
    summary: dict[str, Any]
    trials: tuple[TrialRecord, ...]
    _past: PastStudy

    @property
    def best(self) -> TrialRecord | None:
        """Complete trial of the highest validation accuracy within the budget; None without one."""
        return best_of(self.trials)

    @cached_property
    def front(self) -> tuple[TrialRecord, ...]:
        """Pareto front of a study whose objective is one, the most accurate first; else empty."""
        axes = self._past.study.config.search.axes
        return tuple(front_of(self.trials, axes)) if axes else ()

    def model(self, trial: int | None = None) -> Backbone:
        """Return the trained backbone of a complete trial on the CPU, in eval mode.

        Args:
            trial: Number of the trial; the best by default.

        Raises:
            UsageError: There is no such trial, or its weights are not on file.
            EnvironmentProblem: Its mixers have changed since, or require another device.
        """
        record = record_to_export(self._past, trial)
        chosen = choose(self._past, record, retrain=False, allow_drift=False, note=_ignore)
        return chosen.model()

    def export(
        self,
        to: Literal["folder", "onnx", "timm"],
        out: str | Path,
        *,
        trial: int | None = None,
        force: bool = False,
    ) -> Path:
        """Write a complete trial with weights and a model card into the new folder `out`.

        Args:
            to: The format: spec and safetensors, one ONNX file, or what timm loads.
            out: The new folder. It appears as a whole or not at all.
            trial: Number of the trial; the best by default.
            force: Replace an earlier export.

        Raises:
            UsageError: There is no such trial, its weights are not on file, or `out` is taken.
            EnvironmentProblem: A mixer, its device or a package is not here.
        """
        place = Path(out)
        write_export(self._past, to, place, trial=trial, force=force)
        return place


def run(
    study: Study | str | Path,
    *,
    out: str | Path = "runs",
    registry: MixerRegistry | None = None,
    callbacks: Sequence[Observer] = (),
    device: str | None = None,
    workers: int = 1,
    time_limit: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> StudyResult:
    """Run a study, or resume it, as `search run` does.

    Candidates are evaluated in worker processes. The study's folder is `out` with the study's name.
    An exception, KeyboardInterrupt included, loses no finished trial: the same call resumes.

    Args:
        study: A study file, or a `Study` from `search.load_study`, which takes settings as a dict.
        out: Folder of studies.
        registry: Mixers; by default the installed ones under ./plugins.toml. Local code needs
            consent (`search plugins trust`).
        callbacks: Objects with the methods of `Callback`.
        device: `cpu`, `cuda` or `cuda:N`, for a study file; by default the file's, else the best.
        workers: Worker processes on the device.
        time_limit: No candidate starts after so many seconds.
        should_stop: Asked between steps; True stops the current candidate and the study.

    Raises:
        SpecError: The study file or the space is wrong, with the place of each mistake.
        UsageError: The folder holds another study of this name, or the data cannot be used.
        EnvironmentProblem: Another process runs this study, a mixer is gone, or the folder is
            damaged.
        Interrupted: `should_stop` returned True before the first candidate.
    """
    if not isinstance(study, Study | str | Path):
        words = "allowed: a study file, or a Study of search.load_study"
        raise UsageError(f"study: got {type(study).__name__}; {words}")
    registry = load_registry() if registry is None else registry
    settings = study if isinstance(study, Study) else load_study(study, {}, device=device)
    name = settings.config.train.trainer
    target = require_device(settings.config.measure.device)
    runner = StudyRunner(
        study=settings,
        out=Path(out),
        registry=registry,
        device=target,
        observer=Callbacks(callbacks),
        should_stop=should_stop,
        trainer=None if name is None else find_trainer(name, registry.rules),
        worker_devices=device_of_each(workers, (target,)),
    )
    runner.run(time_limit=time_limit)
    return load_result(Path(out) / settings.config.name, registry=registry)


def load_result(folder: str | Path, *, registry: MixerRegistry | None = None) -> StudyResult:
    """Return the result of the study in `folder`, whether or not it is finished.

    Raises:
        UsageError: `folder` is no study's folder.
        EnvironmentProblem: A file in it is damaged.
    """
    registry = load_registry() if registry is None else registry
    past = open_past_study(Path(folder), registry)
    return StudyResult(Path(folder), read_summary(Path(folder)), tuple(past.records), past)


def measure(
    model: nn.Module,
    protocol: MeasurementProtocol | None = None,
    *,
    budget: float | None = None,
    device: torch.device | str | None = None,
    wait_seconds: float = 600.0,
    note: Callable[[str], None] = lambda _text: None,
) -> Measurement:
    """Measure the throughput of any module that maps (B, C, H, W) to anything.

    The device is leased meanwhile. A contaminated measurement is repeated up to three times, a
    borderline one once with twice the time. In train mode the weights change.

    Args:
        model: The module; it is moved to the device.
        protocol: What is measured; by default inference in fp32 at the protocol's defaults.
        budget: Images per second for the verdict; without it there is none.
        device: By default that of the module's first parameter, else the CPU.
        wait_seconds: Longest wait for the device.
        note: Receives messages, such as who holds the device.

    Returns:
        Images per second with an interval, the verdict, and the blocks.

    Raises:
        LeaseTimeout: Another process kept the device for `wait_seconds`.
        ValueError: The budget is no finite number above 0.
        UsageError: The name of the device is none.
        EnvironmentProblem: The device is not here.
    """
    if protocol is None:
        protocol = MeasurementProtocol(mode="infer")
    if device is None:
        first = next(model.parameters(), None)
        device = "cpu" if first is None else first.device
    if isinstance(device, str):
        device = require_device(device)
    measurer = Measurer(
        device,
        check=lambda: None,
        note=note,
        sleep=time.sleep,
        wait_seconds=wait_seconds,
    )
    return measurer.until_clear(lambda: model, protocol, budget)


def _ignore(_text: str) -> None: ...
