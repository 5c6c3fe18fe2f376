"""A study read from its folder, which is left as it is: settings, mixers, trials, data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError

from metaformer.spec import BackboneSpec
from mixers import MixerRegistry
from search.config.load import load_study
from search.config.provenance import require_same_data, require_unchanged, require_unchanged_trainer
from search.config.study import Study
from search.data import Splits, load_data
from search.devices import require_device
from search.errors import EnvironmentProblem, UsageError
from search.evaluation.evaluator import CandidateEvaluator
from search.storage.record_reader import read_records, require_trial
from search.storage.records import TrialRecord
from search.storage.run_folder import RunFolder
from search.storage.study_folder import require_study_folder
from search.study.status import study_device
from search.training import TrainerEntry, find_trainer


@dataclass(frozen=True)
class PastStudy:
    """`registry` gives the mixers that the study began with, if they are still installed."""

    folder: RunFolder
    study: Study
    registry: MixerRegistry
    records: list[TrialRecord]

    def trial(self, number: int) -> TrialRecord:
        """The record of that trial; UsageError, with the nearest number, if there is none."""
        return require_trial(self.folder.path, self.records, number)

    def spec_of(self, record: TrialRecord, *, allow_drift: bool) -> tuple[BackboneSpec, list[str]]:
        """The backbone of the record, and what has changed about its mixers since, in lines.

        UsageError if the record holds none, EnvironmentProblem if it is damaged, or mixers
        are gone, or have changed and `allow_drift` does not let that pass.
        """
        if record.spec is None:
            raise UsageError(
                f"trial {record.number}: got one that is {record.state} ({record.reason}), whose "
                "record holds no backbone; the candidate was tried again under another number"
            )
        drift = require_unchanged(
            self.folder.path, tuple(record.mixers), self.registry, allow_drift=allow_drift
        )
        try:
            return BackboneSpec.model_validate(record.spec), drift
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise EnvironmentProblem(
                f"{self.folder.trials}: trial {record.number}: spec.{where}: {first['msg']}; the "
                "record was damaged, or written by another version of metaformer-search"
            ) from None

    def load_data(self, note: Callable[[str], None] = lambda _text: None) -> Splits:
        """The study's data; UsageError if they are no longer what they were.

        `note` is called with what may have changed about them.
        """
        train = self.study.config.train
        data = load_data(train.data, train.image_size)
        way = "restore the data"
        for line in require_same_data(self.study, data.identity(), self.folder.path, way):
            note(line)
        return data

    def evaluator(
        self, note: Callable[[str], None], *, allow_drift: bool = False
    ) -> CandidateEvaluator:
        """Return the evaluator under the study's settings, on its device.

        EnvironmentProblem if that device is not here, or the study's trainer has changed and
        `allow_drift` does not let that pass. `note` hears what a user should know.
        """
        trainer, frozen = self._trainer(), self.study.frozen_trainer
        for line in require_unchanged_trainer(
            self.folder.path, frozen, trainer, allow_drift=allow_drift
        ):
            note(f"changed since the study began: {line}")
        config = self.study.config
        device = require_device(config.measure.device)
        if device.type == "cpu":
            torch.set_num_threads(config.measure.threads)
        return CandidateEvaluator(
            config=config,
            registry=self.registry,
            data=self.load_data(note),
            device=device,
            phase=lambda _text: None,
            note=note,
            check=lambda: None,
            trainer=trainer,
            weights=self.folder.inheritable,
        )

    def _trainer(self) -> TrainerEntry | None:
        """The recipe of others that the study names, as plugins.toml has it now."""
        name = self.study.config.train.trainer
        return None if name is None else find_trainer(name, self.registry.rules)


def open_past_study(path: Path, registry: MixerRegistry) -> PastStudy:
    """The study in the folder `path`, whether or not its device is here.

    UsageError if `path` is no study's folder, EnvironmentProblem if a file in it is damaged.
    """
    folder = RunFolder(require_study_folder(path))
    study = load_study(folder.study, {}, device=study_device(path))
    # a short name stays whose it was, whatever has been installed since
    settled = registry.settled(mixer["name"] for mixer in study.frozen_mixers)
    return PastStudy(folder, study, settled, read_records(path))
