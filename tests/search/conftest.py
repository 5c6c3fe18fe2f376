from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from studies import Evaluate, InThisProcess
from tiny import write_study
from torch import Tensor

from metaformer import BackboneSpec
from search.cli import main
from search.config.provenance import mixer_origins
from search.data import Splits, load_data
from search.evaluation.evaluator import CandidateEvaluator
from search.evaluation.measurer import Measurer
from search.profiling.roofline import Rates
from search.storage.records import TrialRecord
from search.storage.run_folder import RunFolder
from search.study import runner as study_module
from search.study.runner import StudyRunner


@pytest.fixture(autouse=True)
def candidates_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker takes seconds to start; tests of it are in `executor` and of real processes."""

    def executor(self: StudyRunner, folder: RunFolder) -> InThisProcess:
        train = self.study.config.train
        evaluator = CandidateEvaluator(
            config=self.study.config,
            registry=self.registry,
            data=study_module.load_data(train.data, train.image_size),
            device=self.device,
            phase=self.observer.phase,
            note=self.observer.note,
            check=self._check,
            trainer=self.trainer,
            checkpoints=folder.checkpoints,
            weights=folder.inheritable,
            best=folder.best_weights,
        )
        return InThisProcess(evaluator, folder.log_error)

    monkeypatch.setattr(StudyRunner, "executor", executor)


@pytest.fixture
def evaluate_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Evaluate], None]:
    """Puts a function in the place of building, measuring and training."""

    def put(function: Evaluate) -> None:
        def evaluate(
            self: CandidateEvaluator, spec: BackboneSpec, record: TrialRecord
        ) -> dict[str, Tensor] | None:
            record.spec, record.digest = spec.to_data(), spec.digest
            record.mixers = mixer_origins(spec, self.registry)
            record.params = record.macs = 1
            return function(spec, record)

        monkeypatch.setattr(CandidateEvaluator, "evaluate", evaluate)

    return put


@pytest.fixture
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/tiny: a study of two complete trials, a copy for each test."""
    kept = tmp_path_factory.getbasetemp() / "finished"
    if not kept.exists():
        arguments = ["run", str(write_study()), "--trials", "2", "--out", str(kept)]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
    shutil.copytree(kept / "tiny", "runs/tiny")
    return Path("runs/tiny")


@pytest.fixture(scope="session")
def digits() -> Splits:
    """Of 8 pixels."""
    return load_data("digits", 8)


@pytest.fixture
def endlessly_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device's rates rule nothing out."""
    monkeypatch.setattr(Measurer, "rates", lambda *_arguments: Rates(1e30, 1e30))
