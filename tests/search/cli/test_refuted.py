"""A best that a second measurement refuted, as each command shows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from studies import Evaluate
from tiny import write_study
from torch import Tensor

from metaformer import BackboneSpec
from search.cli import main
from search.evaluation.evaluator import CandidateEvaluator
from search.storage.records import TrialRecord, TrialState


def search(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def measurement(images_per_second: float) -> dict[str, Any]:
    figures = dict.fromkeys(("images_per_second", "low", "high"), images_per_second)
    return {"mode": "train", "verdict": "PASS", **figures}


def train(spec: BackboneSpec, record: TrialRecord) -> dict[str, Tensor]:
    """The first trial is the most accurate."""
    record.state, record.score = TrialState.COMPLETE, {"value": 0.9 - record.number / 10}
    record.measurements.append(measurement(905.0))
    record.constraints["throughput.train"] = -0.1
    return {"weight": torch.tensor([1.0])}


@pytest.fixture
def first_measured_again_is_slow(
    evaluate_by: Callable[[Evaluate], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def judge(_self: object, spec: BackboneSpec, record: TrialRecord) -> None:
        record.spec, record.digest, record.params = spec.to_data(), spec.digest, 1
        record.macs = 1
        record.state = TrialState.REJECTED if record.confirms == 0 else TrialState.COMPLETE
        record.measurements.append(measurement(880.0 if record.confirms == 0 else 907.0))
        if record.confirms == 0:
            record.constraints["throughput.train"] = 0.02
            record.reason = "train: 880 of 900 images/s"

    evaluate_by(train)
    monkeypatch.setattr(CandidateEvaluator, "measure_only", judge)
    monkeypatch.setattr("search.study.loop.SearchLoop.test_best", lambda _self: 0.5)


REFUTED = (
    "refuted: trial 0, train 905 images/s [905, 905], validation accuracy 0.9000; REJECTED when "
    "measured again (trial {}), train 880 images/s [880, 880]: train: 880 of 900 images/s"
)


@pytest.mark.usefixtures("first_measured_again_is_slow")
def test_the_result_its_repetition_the_status_and_the_files_show_what_was_refuted() -> None:
    first = search("run", str(write_study()), "--trials", "2")
    assert first.exit_code == 0, first.output
    again = search("run", str(write_study()), "--trials", "2")
    for output in (first.output, again.output, search("status", "runs/tiny").output):
        assert REFUTED.format(2) in output
    assert "best: trial 1, 0.8000, trial 0 was refuted" in search("status").output
    told = json.loads(search("status", "runs/tiny", "--json").output)["refuted"]
    assert told == json.loads(Path("runs/tiny/summary.json").read_text())["refuted"]
    assert (told[0]["trial"], told[0]["accuracy"]) == (0, 0.9)
    assert told[0]["measured_again"]["throughput"][0]["images_per_second"] == 880.0
    assert REFUTED.format(2) in search("resume", "runs/tiny", "--trials", "3").output


@pytest.mark.usefixtures("first_measured_again_is_slow")
def test_if_the_only_one_is_refuted_it_is_the_nearest_miss_under_its_own_number() -> None:
    result = search("run", str(write_study()), "--trials", "1")
    assert result.exit_code == 3, result.output
    summary = json.loads(Path("runs/tiny/summary.json").read_text())
    miss = summary["nearest_miss"]
    assert summary["best"] is None
    assert (miss["trial"], miss["validation_accuracy"]) == (0, 0.9)
    assert miss["throughput"]["train"]["images_per_second"] == 880.0
    status = search("status", "runs/tiny").output
    assert REFUTED.format(1) in status
    assert "best: none; nearest miss: trial 0, " in status
    refused = search("export", "runs/tiny", "--to", "folder")
    assert refused.exit_code == 2
    assert "no trial is the best: 0 missed when measured again" in refused.output
