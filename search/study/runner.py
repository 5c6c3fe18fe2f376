"""A study in its folder: taken up or begun, searched, concluded."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mixers import MixerRegistry
from search.bayesopt.history import NUM_FINALISTS
from search.config.differences import differences
from search.config.provenance import (
    freeze,
    require_same_data,
    require_unchanged,
    require_unchanged_trainer,
)
from search.config.run_config import read_own_study
from search.config.study import Study
from search.config.study_space import image_sizes, open_space
from search.data import Splits, load_data, unreadable_words
from search.errors import Interrupted, UsageError
from search.evaluation.device_requirements import require_device_for_mixers
from search.formatting import budget_words
from search.scheduling.passed_over import PassedOverCounter
from search.scheduling.proposal_filter import ProposalFilter
from search.scheduling.strategy import Strategy
from search.scheduling.trial_init import trial_initializer
from search.space.buildability import BuildCheck, require_some_buildable
from search.space.search_space import SearchSpace
from search.storage.progress import Observer
from search.storage.run_folder import RunFolder
from search.storage.study_lock import has_begun, held
from search.storage.trial_store import TrialStore
from search.study._baselines import Baselines, with_baselines_of
from search.study.loop import SearchLoop
from search.study.summary import StudyOutcome, summarise
from search.training import TrainerEntry
from search.workers.interface import Executor
from search.workers.placement import crowded, on_its_gpu, require_same_gpu
from search.workers.pool import in_processes
from search.workers.process import Child

_NOT_COMPARED = ("search.trials:", "search.trial_seconds:", "search.baselines")  # may change
_WHOLE = (StudyOutcome.DONE, StudyOutcome.SPACE_EXHAUSTED)


@dataclass
class StudyRunner:
    """Runs one study in its folder, from its beginning or from where it was left.

    `should_stop` is asked between steps: True abandons the current candidate cleanly.
    `allow_drift` continues although mixers or the trainer have changed since the study began.
    `trainer` is the one that `train.trainer` names; `worker_devices` has one for each worker, by
    default `device`; `strategy` proposes the candidates.
    """

    study: Study
    out: Path
    registry: MixerRegistry
    device: torch.device
    observer: Observer
    should_stop: Callable[[], bool]
    allow_drift: bool = False
    trainer: TrainerEntry | None = None
    worker_devices: Sequence[torch.device] = ()
    strategy: type[Strategy] = Strategy
    _left_out: dict[str, str] = field(default_factory=dict, init=False)

    def run(self, *, time_limit: float | None = None) -> dict[str, Any]:
        """Tries candidates up to the study's total; returns what summary.json holds.

        No candidate is begun after `time_limit` seconds. UsageError if the folder holds
        another study of this name, SpecError if the space holds nothing that can be built,
        EnvironmentProblem if another process runs this study, a mixer of it is gone or its
        folder is damaged, OSError if the folder cannot be written, Interrupted if
        `should_stop` said so before the first candidate.
        """
        end = math.inf if time_limit is None else time.monotonic() + time_limit
        folder = RunFolder(self.out / self.study.config.name)
        with held(folder):
            space, data, baselines = self.prepare(folder)
            folder.write_study(self.study.to_data())
            config = self.study.config
            limits = budget_words(config.budget.given())
            self.observer.note(f"study {config.name} in {folder.path}, budget: {limits}")
            if words := crowded(self.worker_devices, config.measure.threads):
                self.observer.note(words)
            with closing(self.executor(folder)) as executor:
                loop = self._loop(folder, space, baselines, executor)
                require_same_gpu(self.device, loop.store.records)
                tried, compared = loop.store.counted, len(baselines.records)
                try:
                    loop.restore_best()
                    baselines.run(executor, lambda: time.monotonic() < end)
                    outcome = loop.run(config.search.trials, end - time.monotonic())
                    if outcome in _WHOLE and config.budget.speeds:
                        loop.confirm_best()
                except Interrupted:
                    outcome = StudyOutcome.INTERRUPTED
                nothing_new = (loop.store.counted, len(baselines.records)) == (tried, compared)
                if outcome is StudyOutcome.DONE and nothing_new:
                    self.observer.note(
                        f"the study was finished before, with {tried} trials; nothing new was "
                        f"tried. For more: --trials N, with N above {tried}"
                    )
                return self._conclude(loop, baselines, data, outcome)

    def prepare(self, folder: RunFolder) -> tuple[SearchSpace, Splits, Baselines]:
        """Reads all that the study needs and refuses what `run` refuses; writes nothing.

        `study` is then what study.yaml holds of it, with its mixers and data frozen.
        """
        self._take_up(folder)
        asked = self.study.config.search.baselines
        baselines = Baselines(folder, asked, self.observer, self._check)
        baselines.require_known(self.registry, self.device)
        # what is wrong in the space is said before data are read
        trial_space = self._space(num_classes=1000)
        require_device_for_mixers(trial_space.mixer_names, self.registry, self.device, "space")
        require_some_buildable(trial_space, self._build_check())
        self._name_mixers(trial_space)
        data = self._load_data(folder)
        space = self._space(data.num_classes)
        self._freeze(space, data)
        return space, data, baselines

    def _take_up(self, folder: RunFolder) -> None:
        """Goes on with the study in the folder, if there is one and it is this one."""
        if not has_begun(folder):
            return
        old = read_own_study(folder.study)
        self.study = replace(
            self.study,
            config=on_its_gpu(self.study.config, old),
            frozen_mixers=tuple(old["mixers"]),
            frozen_data=old["data"],
            frozen_trainer=old.get("trainer"),
        )
        self.study = with_baselines_of(self.study, old)
        # a short name stays whose it was, whatever has been installed since
        self.registry = self.registry.settled(mixer["name"] for mixer in old["mixers"])
        changes = require_unchanged(
            folder.path, self.study.frozen_mixers, self.registry, allow_drift=self.allow_drift
        )
        changes += require_unchanged_trainer(
            folder.path, self.study.frozen_trainer, self.trainer, allow_drift=self.allow_drift
        )
        for line in changes:
            self.observer.note(f"changed since the study began: {line}")
        lines = differences(old, self.study.to_data())
        lines = [line for line in lines if not line.startswith(_NOT_COMPARED)]
        if lines:
            self._require_sound()
            shown = "\n".join(f"  {line}" for line in lines[:20])
            way = "choose another --out or another name in the study file"
            if all(line.startswith("space") for line in lines):
                way += (
                    "; to begin a study in the new space with the trials of the old one: search "
                    f"fork {folder.path} STUDY --name NAME"
                )
            raise UsageError(f"{folder.path} holds another study of this name:\n{shown}\n{way}")

    def _require_sound(self) -> None:
        """Refuses what would be wrong in the study if it were a new one."""
        Baselines(
            RunFolder(self.out), self.study.config.search.baselines, self.observer, self._check
        ).require_known(self.registry, self.device)
        require_some_buildable(self._space(num_classes=1000), self._build_check())

    def _space(self, num_classes: int) -> SearchSpace:
        config = self.study.config
        fields = {
            "name": config.name,
            "num_classes": num_classes,
            "image_size": config.train.image_size,
        }
        names = [mixer["name"] for mixer in self.study.frozen_mixers]
        return open_space(
            self.study.space,
            self.registry,
            config,
            self.device,
            any_mixers=names or None,
            fields=fields,
            check=self._check,
        )

    def _name_mixers(self, space: SearchSpace) -> None:
        """Says which mixers are left out and why."""
        self._left_out = dict(space.left_out)
        for reason in space.left_out.values():
            self.observer.note(f"left out of any: {reason}")

    def _build_check(self) -> BuildCheck:
        return BuildCheck(self.registry, image_sizes(self.study.config))

    def _freeze(self, space: SearchSpace, data: Splits) -> None:
        """Keeps the mixers that the space can hold from now on, the data and the trainer."""
        names = [mixer["name"] for mixer in self.study.frozen_mixers] or space.mixer_names
        self.study = replace(self.study, frozen_mixers=freeze(names, self.registry))
        trainer = None if self.trainer is None else self.trainer.fingerprint()
        self.study = replace(self.study, frozen_data=data.identity(), frozen_trainer=trainer)

    def _load_data(self, folder: RunFolder) -> Splits:
        """The study's data; UsageError if they are no longer what the study began with."""
        train = self.study.config.train
        self.observer.note(f"loading {train.data}")
        data = load_data(train.data, train.image_size)
        for note in data.notes:
            self.observer.note(f"data: {note}")
        if words := unreadable_words(data.unreadable):
            self.observer.note(words)
        way = "restore the data, or choose another --out"
        for note in require_same_data(self.study, data.identity(), folder.path, way):
            self.observer.note(note)
        return data

    def executor(self, folder: RunFolder) -> Executor:
        """Executor that evaluates in worker processes, by the study.yaml in `folder`."""
        plugins, consent = self._plugins_file(), self.registry.rules.consent
        devices = self.worker_devices or (self.device,)

        def start(device: torch.device) -> Child:
            self._keep_study_file(folder)
            return Child(folder.study, device, plugins, consent)

        return in_processes(
            [partial(start, device) for device in devices],
            self.observer,
            log_error=folder.log_error,
            check=self._check,
            trial_seconds=self.study.config.search.trial_seconds,
        )

    def _keep_study_file(self, folder: RunFolder) -> None:
        """Write study.yaml again if it was removed while the study runs: workers read it, and
        without it the study could not be resumed."""
        if not folder.study.exists():
            folder.write_study(self.study.to_data())
            self.observer.note(f"{folder.study} was removed while the study ran; written again")

    def _plugins_file(self) -> str | None:
        file = self.registry.rules.file
        return file if Path(file).is_file() else None

    def _loop(
        self, folder: RunFolder, space: SearchSpace, baselines: Baselines, executor: Executor
    ) -> SearchLoop:
        config = self.study.config
        store = TrialStore(config.name, folder)
        check = ProposalFilter(
            store.records, self.study.frozen_mixers, self._build_check(), self.observer.note
        )
        passed_over = PassedOverCounter(self.observer.note, left_out=self._left_out)
        passed_over.resume(folder.earlier_passed_over())
        strategy = self.strategy(
            store,
            space,
            config.budget,
            config.search.seed,
            check,
            axes=config.search.axes,
            passed_over=passed_over,
        )

        def write_summary(outcome: StudyOutcome) -> None:
            said: dict[str, Any] = {"prediction": strategy.prediction(), "passed_over": passed_over}
            said["baselines"] = baselines.records
            folder.write_summary(summarise(self.study, store.records, self.device, outcome, **said))

        return SearchLoop(
            store=store,
            strategy=strategy,
            executor=executor,
            folder=folder,
            observer=self.observer,
            should_stop=self.should_stop,
            summarise=write_summary,
            beginning=trial_initializer(config, store, self.registry),
            explained=check.explains,
            num_finalists=NUM_FINALISTS if config.budget.speeds else 1,
        )

    def _conclude(
        self, loop: SearchLoop, baselines: Baselines, data: Splits, outcome: StudyOutcome
    ) -> dict[str, Any]:
        """Reports the best on the test split, once the search has ended, and writes the summary."""
        store, folder = loop.store, loop.folder
        self._keep_study_file(folder)
        said: dict[str, Any] = {"data": data, "prediction": loop.strategy.prediction()}
        said["passed_over"] = loop.strategy.passed_over
        said["baselines"] = baselines.records
        summary = summarise(self.study, store.records, self.device, outcome, **said)
        folder.write_summary(summary)
        if outcome is not StudyOutcome.INTERRUPTED:
            try:
                test = loop.test_best()
            except Interrupted:
                outcome, test = StudyOutcome.INTERRUPTED, None
            summary = summarise(self.study, store.records, self.device, outcome, test=test, **said)
            folder.write_summary(summary)
        return summary

    def _check(self) -> None:
        if self.should_stop():
            raise Interrupted
