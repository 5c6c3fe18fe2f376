from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluating import FakeMeasure, a_spec, evaluate, evaluator, study

from mixers import MixerRegistry
from search.data import Splits
from search.errors import Interrupted
from search.evaluation.model_source import model_source_of
from search.storage.records import TrialRecord, TrialState
from search.throughput import Measurement, Verdict

pytestmark = pytest.mark.usefixtures("endlessly_fast")


def test_a_candidate_that_passes_is_trained_and_scored(
    registry: MixerRegistry, digits: Splits
) -> None:
    phases: list[str] = []
    record, weights = evaluate(registry, digits, FakeMeasure(Verdict.PASS), phase=phases.append)
    assert record.state is TrialState.COMPLETE
    assert record.accuracy is not None
    assert weights is not None
    assert phases == ["build", "measure train", "train", "train, epoch 1 of 1"]
    assert record.constraints == {"throughput.train": pytest.approx(math.log(100 / 120))}
    assert set(record.seconds) == {"build", "measure", "train"}
    assert record.mixers == [
        {
            "name": "pooling",
            "distribution": "metaformer-search",
            "version": record.mixers[0]["version"],
            "entry_point": "mixers.builtin.pooling:Pooling",
            **registry["pooling"].origin,
        }
    ]
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    assert record.params == sum(w.numel() for k, w in weights.items() if not k.endswith(buffers))


def test_other_errors_pass_through(registry: MixerRegistry, digits: Splits) -> None:
    class Broken(FakeMeasure):
        def __call__(self, *_args: Any, **_settings: Any) -> Measurement:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        evaluate(registry, digits, Broken(Verdict.PASS))


def test_a_diverged_training_fails_with_its_reason(registry: MixerRegistry, digits: Splits) -> None:
    wild = study(train={"learning_rate": 1e30, "epochs": 2})
    record, weights = evaluate(registry, digits, FakeMeasure(Verdict.PASS), of=wild)
    assert (record.state, weights) == (TrialState.FAILED, None)
    assert record.reason.startswith("diverged: the loss became nan in epoch")


def test_a_candidate_trains_alike_whatever_its_number(
    registry: MixerRegistry, digits: Splits
) -> None:
    one, first = evaluate(registry, digits, FakeMeasure(Verdict.PASS))
    torch.rand(7)
    two, second = evaluate(registry, digits, FakeMeasure(Verdict.PASS))
    assert one.score == two.score
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_measurement_can_be_stopped_between_its_steps(
    registry: MixerRegistry, digits: Splits
) -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 20:
            raise Interrupted

    made = evaluator(registry, digits, check=check)
    record = TrialRecord(number=0, state=TrialState.FAILED)
    with pytest.raises(Interrupted):
        made.evaluate(a_spec(registry), record)
    assert record.measurements == []


def test_a_training_that_was_stopped_goes_on_from_its_last_epoch(
    registry: MixerRegistry, digits: Splits, tmp_path: Path
) -> None:
    config = study(train={"epochs": 3}).config
    phases: list[str] = []

    def train(check: Callable[[], None], folder: Path | None) -> dict[str, torch.Tensor] | None:
        made = evaluator(
            registry, digits, config=config, phase=phases.append, check=check, checkpoints=folder
        )
        return made.train(a_spec(registry), TrialRecord(number=0, state=TrialState.FAILED))

    def stop_in_the_last_epoch() -> None:
        if "train, epoch 2 of 3" in phases:
            raise Interrupted

    whole = train(lambda: None, None)
    phases.clear()
    with pytest.raises(Interrupted):
        train(stop_in_the_last_epoch, tmp_path / "checkpoints")
    phases.clear()
    pieces = train(lambda: None, tmp_path / "checkpoints")
    assert phases == ["train", "train, epoch 3 of 3"]
    assert whole is not None
    assert pieces is not None
    assert all(torch.equal(whole[key], pieces[key]) for key in whole)
    assert list(tmp_path.iterdir()) == []  # what is done needs no checkpoint


def test_a_damaged_checkpoint_is_told_and_the_training_begins_anew(
    registry: MixerRegistry, digits: Splits, tmp_path: Path
) -> None:
    spec = a_spec(registry)
    notes: list[str] = []
    made = evaluator(registry, digits, note=notes.append, checkpoints=tmp_path)
    file = made._checkpoint_of(model_source_of(spec, registry))
    assert file is not None
    file.write_bytes(b"torn")
    record = TrialRecord(number=0, state=TrialState.FAILED)
    assert made.train(spec, record) is not None
    assert record.state is TrialState.COMPLETE
    assert len(notes) == 1
    assert "no checkpoint that can be read" in notes[0]
    assert "training from the first epoch" in notes[0]
