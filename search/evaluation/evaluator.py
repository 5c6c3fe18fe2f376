"""One candidate on its way: the budgets, and only if it makes them, training. Baselines too."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from metaformer.spec import BackboneSpec
from mixers import MixerFault, MixerRegistry
from search.config.provenance import mixer_origins
from search.config.study import StudyConfig
from search.data import Splits, unreadable_words
from search.device_lease.lock_files import Holder
from search.device_lease.shared_lease import SharedLease
from search.devices import is_out_of_memory
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.evaluation.budget_checks import BudgetChecks, out_of_memory
from search.evaluation.measurer import Measurer
from search.evaluation.model_source import ModelSource, model_source_of, read_model_source
from search.storage.records import DIVERGED, BaselineRecord, Record, TrialRecord, TrialState
from search.throughput import Measurement, measure
from search.training import (
    CheckpointProblem,
    Diverged,
    Score,
    TrainerEntry,
    accuracy,
    forget_state,
    seconds_of_training,
    train_and_score,
)
from search.training.weight_transfer import inherit


@dataclass
class CandidateEvaluator:
    """Evaluates candidates under one study's settings. `phase` hears what is being done, `note`
    what a user should know; `check` is called between steps and may raise to stop. `trainer` takes
    the place of the project's recipe; `checkpoints` is the folder of trainings under way, `weights`
    that of what candidates inherit, a file for each digest, `best` the file of the best's. `known`
    are processes whose use of the device is negligible."""

    config: StudyConfig
    registry: MixerRegistry
    data: Splits
    device: torch.device
    phase: Callable[[str], None]
    note: Callable[[str], None]
    check: Callable[[], None]
    measure: Callable[..., Measurement] = measure
    sleep: Callable[[float], None] = time.sleep
    trainer: TrainerEntry | None = None
    checkpoints: Path | None = None
    weights: Path | None = None
    best: Path | None = None
    known: Callable[[Holder], bool] = lambda _holder: False

    def __post_init__(self) -> None:
        self._measurer = Measurer(
            self.device, self.check, self.note, self.sleep, self.measure, known=self.known
        )
        self._budgets = BudgetChecks(
            self.config, self.registry, self.device, self._measurer, self.phase
        )

    def evaluate(self, spec: BackboneSpec, record: TrialRecord) -> dict[str, Tensor] | None:
        """Fills in `record` step by step; the trained weights if the candidate completed.

        What a mixer's code raises passes through; the record then stands as far as it came. One
        that continues another is not put to the budgets again.
        """
        self._name(spec, record)
        with self._watched(record):
            within = record.continues is not None or self._budgets.passes(spec, record)
            return self.train(spec, record) if within else None
        return None

    def precheck(self, spec: BackboneSpec, record: TrialRecord) -> None:
        """Fills in `record` as far as counts and floors go; COMPLETE if they let it pass."""
        self._name(spec, record)
        with self._watched(record):
            if self._budgets.may_pass(spec, record):
                record.state = TrialState.COMPLETE

    def measure_only(self, spec: BackboneSpec, record: TrialRecord) -> None:
        """Puts `spec` to the budgets only: COMPLETE if it makes them."""
        self._name(spec, record)
        with self._watched(record):
            if self._budgets.passes(spec, record):
                record.state = TrialState.COMPLETE

    def time_training(self, spec: BackboneSpec, record: TrialRecord) -> None:
        """Sets the seconds that a training would take, from some of its steps."""
        self.phase("time some steps of a training")
        config = self.config
        with self._watched(record), self._measurer.leased():
            torch.manual_seed(config.search.seed)
            model = model_source_of(spec, self.registry).build(config.train.image_size, self.device)
            record.seconds["train"] = seconds_of_training(
                model,
                self.data,
                config.train,
                device=self.device,
                seed=config.search.seed,
                check=self.check,
                trainer=self.trainer,
            )

    def test(self, spec: BackboneSpec, record: TrialRecord) -> None:
        """Scores `spec` with the weights in the file of the best on the test split: COMPLETE, or
        FAILED if it answers with numbers that are not finite."""
        assert self.best is not None, "only a study's folder holds a best"
        self.phase("test")
        with self._watched(record), self._measurer.shared() as lease:
            model = model_source_of(spec, self.registry).build(
                self.config.train.image_size, self.device
            )
            model.load_state_dict(load_file(self.best, device=str(self.device)))
            try:
                value = self._test_accuracy(model, lease)
            except Diverged as error:
                record.state, record.reason = TrialState.FAILED, str(error)
                return
            record.score = Score("accuracy", value, self.config.train.epochs, "test").to_data()
            record.state = TrialState.COMPLETE

    def evaluate_baseline(self, record: BaselineRecord) -> None:
        """Measures the baseline that `record` names and trains it, whether it meets the budgets or
        not, as candidates are; fills in `record`.

        UsageError or SpecError if it names none.
        """
        classes, size = self.data.num_classes, self.config.train.image_size
        network = read_model_source(
            record.name, self.registry, num_classes=classes, image_size=size
        )
        record.digest = network.digest
        if network.spec is not None:
            self._name(network.spec, record)
        with self._watched(record):
            if self._budgets.check_all(network, record):
                self._train_and_test(network, record)

    def _name(self, spec: BackboneSpec, record: Record) -> None:
        record.spec, record.digest = spec.to_data(), spec.digest
        record.mixers = mixer_origins(spec, self.registry)

    @contextmanager
    def _watched(self, record: Record) -> Iterator[None]:
        """Put out-of-memory errors and the seconds of waiting for the device into `record`, and
        name images that turn out to be unreadable."""
        waited, known = self._measurer.waited_seconds, len(self.data.unreadable)
        try:
            yield
        except (RuntimeError, MemoryError, MixerFault) as error:
            if not is_out_of_memory(error):
                raise
            out_of_memory(record, str(error).splitlines()[0])
        finally:
            waited = self._measurer.waited_seconds - waited
            if waited:
                record.seconds["wait"] = waited
            if words := unreadable_words(self.data.unreadable[known:]):
                self.note(words)

    def _train_and_test(self, network: ModelSource, record: BaselineRecord) -> None:
        self.phase("train")
        with self._measurer.shared() as lease:
            model = self._train(network, record, lease)
            if model is not None:
                record.test_accuracy = self._test_accuracy(model, lease)

    def _test_accuracy(self, model: nn.Module, lease: SharedLease) -> float:
        return accuracy(
            model,
            self.data.test,
            self.config.train,
            device=self.device,
            check=self._checking(lease),
        )

    def train(self, spec: BackboneSpec, record: TrialRecord) -> dict[str, Tensor] | None:
        """Trains and scores; the weights, or None if the training diverged or pauses."""
        self.phase("train")
        with self._measurer.shared() as lease:  # next to a measurement it would spoil that
            model = self._train(model_source_of(spec, self.registry), record, lease)
        if model is None:
            return None
        return {key: value.detach().cpu() for key, value in model.state_dict().items()}

    def _train(self, network: ModelSource, record: Record, lease: SharedLease) -> nn.Module | None:
        """The network, trained and scored; None if the training diverged or pauses."""
        start, waited = time.perf_counter(), lease.waited_seconds
        checkpoint = self._checkpoint_of(network)
        if record.continues is not None and (checkpoint is None or not checkpoint.exists()):
            self.note(f"{record.title}: its checkpoint is gone; training from the first epoch")
        torch.manual_seed(self.config.search.seed)
        model = network.build(self.config.train.image_size, self.device)
        self._inherit(model, record)
        try:
            try:
                score = self._score(model, checkpoint, record.epochs, lease)
            except CheckpointProblem as error:
                self.note(f"{error}; training from the first epoch")
                forget_state(checkpoint)
                score = self._score(model, checkpoint, record.epochs, lease)
        except Diverged as error:
            record.state, record.reason = TrialState.FAILED, f"{DIVERGED}{error}"
            forget_state(checkpoint)
            return None
        except (Interrupted, UsageError, EnvironmentProblem):  # it is tried again
            raise
        except Exception:  # whatever it was, its checkpoint is not gone on with
            forget_state(checkpoint)
            raise
        finally:
            paused = lease.waited_seconds - waited
            record.seconds["train"] = time.perf_counter() - start - paused
        record.score = score.to_data()
        if score.epochs < self.config.train.epochs:
            record.state = TrialState.PRUNED
            record.reason = f"paused after epoch {score.epochs} of {self.config.train.epochs}"
            return None
        record.state = TrialState.COMPLETE
        forget_state(checkpoint)
        return model

    def _inherit(self, model: nn.Module, record: Record) -> None:
        """Begins with the weights of the trial that `record` names; without if they are gone."""
        if record.inherited is None or self.weights is None:
            return
        file = self.weights / f"{record.inherited['digest']}.safetensors"
        try:
            share = inherit(model, file)
        except FileNotFoundError:
            self.note(
                f"{file} is gone: nothing is inherited from trial {record.inherited['trial']}"
            )
            share = 0.0
        record.inherited = {**record.inherited, "share": round(share, 4)}

    def _checkpoint_of(self, network: ModelSource) -> Path | None:
        """The file of this network with its mixers as they are installed now."""
        if self.checkpoints is None:
            return None
        spec = network.spec
        origins = json.dumps(mixer_origins(spec, self.registry) if spec else []).encode()
        return self.checkpoints / f"{network.digest}-{hashlib.sha256(origins).hexdigest()[:8]}.pt"

    def _score(
        self, model: nn.Module, checkpoint: Path | None, until: int | None, lease: SharedLease
    ) -> Score:
        epochs = until or self.config.train.epochs
        return train_and_score(
            model,
            self.data,
            self.config.train,
            device=self.device,
            seed=self.config.search.seed,
            on_epoch=lambda epoch, _loss: self.phase(f"train, epoch {epoch} of {epochs}"),
            check=self._checking(lease),
            note=self.note,
            checkpoint=checkpoint,
            epochs=until,
            trainer=self.trainer,
        )

    def _checking(self, lease: SharedLease) -> Callable[[], None]:
        """Return the function called between steps: it stops, or yields the device to a
        measurement."""

        def check() -> None:
            self.check()
            lease.make_way()

        return check
