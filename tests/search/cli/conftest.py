from __future__ import annotations

from typing import Any

import pytest

from search.evaluation.evaluator import CandidateEvaluator
from search.storage.records import TrialRecord, TrialState


@pytest.fixture
def rejecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every candidate misses its budget, at no cost."""

    def evaluate(self: CandidateEvaluator, spec: Any, record: TrialRecord) -> None:
        record.spec, record.digest = spec.to_data(), spec.digest
        record.params = record.macs = 1
        record.state, record.constraints["throughput.train"] = TrialState.REJECTED, 0.5
        figures = dict.fromkeys(("images_per_second", "low", "high"), 0.5)
        record.measurements.append({"mode": "train", "verdict": "FAIL", **figures})

    monkeypatch.setattr(CandidateEvaluator, "evaluate", evaluate)
