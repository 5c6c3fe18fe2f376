from __future__ import annotations

from collections.abc import Callable

import pytest
from studies import Evaluate
from torch import Tensor

from metaformer import BackboneSpec
from search.candidate import CandidateEvaluator
from search.data import load_data
from search.records import TrialRecord
from search.run_folder import RunFolder
from search.study import StudyRunner


@pytest.fixture(autouse=True)
def candidates_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker takes seconds to start; tests of it are in `executor` and of real processes."""

    def evaluator(self: StudyRunner, _folder: RunFolder) -> CandidateEvaluator:
        train = self.study.config.train
        return CandidateEvaluator(
            config=self.study.config,
            registry=self.registry,
            data=load_data(train.data, train.image_size),
            device=self.device,
            phase=self.observer.phase,
            note=self.observer.note,
            check=self._check,
        )

    monkeypatch.setattr(StudyRunner, "_evaluator", evaluator)


@pytest.fixture
def evaluate_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Evaluate], None]:
    """Puts a function in the place of building, measuring and training."""

    def put(function: Evaluate) -> None:
        def evaluate(
            self: CandidateEvaluator, spec: BackboneSpec, record: TrialRecord
        ) -> dict[str, Tensor] | None:
            record.spec, record.digest = spec.to_data(), spec.digest
            record.params = record.macs = 1
            return function(spec, record)

        monkeypatch.setattr(CandidateEvaluator, "evaluate", evaluate)

    return put
