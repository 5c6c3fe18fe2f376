"""Which trial is exported, and where its weights come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from chosen import best_of
from run_files import edit_trial
from studies import runner

from mixers import MixerRegistry
from search.errors import UsageError
from search.export._model_card import model_card
from search.export.selected_trial import choose, random_images, record_to_export
from search.study.stored_study import open_past_study


def other_than_the_best(folder: Path) -> int:
    best = json.loads((folder / "summary.json").read_text())["best"]["trial"]
    return 1 - int(best)


def test_the_best_has_its_weights_on_file_and_its_test_accuracy(
    finished: Path, registry: MixerRegistry
) -> None:
    chosen = best_of(finished, registry)
    told = json.loads((finished / "summary.json").read_text())["best"]
    assert not chosen.retrained
    assert chosen.record.number == told["trial"]
    assert (chosen.accuracy, chosen.test_accuracy) == (
        told["validation_accuracy"],
        told["test_accuracy"],
    )
    assert chosen.class_names == [str(digit) for digit in range(10)]
    assert not chosen.model().training


def test_another_trial_is_trained_again_to_the_accuracy_on_record(
    finished: Path, registry: MixerRegistry
) -> None:
    number = other_than_the_best(finished)
    past = open_past_study(finished, registry)
    record = record_to_export(past, number)
    with pytest.raises(UsageError, match="--retrain trains it again, which took"):
        choose(past, record, retrain=False, allow_drift=False, note=print)
    chosen = best_of(finished, registry, number)
    assert chosen.retrained
    assert chosen.accuracy == record.accuracy
    assert chosen.test_accuracy is None
    chosen.model()


def test_weights_that_are_gone_are_trained_again(finished: Path, registry: MixerRegistry) -> None:
    kept = best_of(finished, registry)
    (finished / "best.safetensors").unlink()
    again = best_of(finished, registry, kept.record.number)
    assert again.retrained
    for key, value in kept.weights.items():
        torch.testing.assert_close(again.weights[key], value, atol=0, rtol=0)


def test_a_trial_that_was_not_trained_cannot_be_exported(
    finished: Path, registry: MixerRegistry
) -> None:
    edit_trial(finished, 0, state="REJECTED", reason="slow")
    past = open_past_study(finished, registry)
    with pytest.raises(UsageError, match=r"got one that is REJECTED \(slow\) .*; allowed: 1$"):
        record_to_export(past, 0)


def test_a_study_without_a_complete_trial_has_no_best(
    finished: Path, registry: MixerRegistry
) -> None:
    (finished / "trials.jsonl").write_text("")
    past = open_past_study(finished, registry)
    with pytest.raises(UsageError, match="runs/tiny: no trial is complete yet"):
        record_to_export(past, None)


def test_a_study_of_a_device_that_is_not_here_can_be_read(
    finished: Path, registry: MixerRegistry
) -> None:
    text = (finished / "study.yaml").read_text()
    text = text.replace("device: cpu", "device: cuda:7")
    (finished / "study.yaml").write_text(text.replace("precision: fp32", "precision: tf32", 1))
    assert best_of(finished, registry).past.study.config.measure.device == "cuda:7"


def test_random_images_are_the_same_each_time(finished: Path, registry: MixerRegistry) -> None:
    spec = best_of(finished, registry).spec
    images = random_images(spec, 3, 5)
    assert images.shape == (3, 3, 8, 8)
    assert torch.equal(images, random_images(spec, 3, 5))
    assert not torch.equal(images, random_images(spec, 3, 6))


def test_where_candidates_inherit_the_weights_of_each_are_on_file(
    registry: MixerRegistry, tmp_path: Path
) -> None:
    runner(registry, train={"inherit": True}).run()
    folder = Path("runs/tiny")
    (folder / "best.safetensors").unlink()
    past = open_past_study(folder, registry)
    for record in past.records:
        if record.confirms is None:
            chosen = choose(past, record, retrain=False, allow_drift=False, note=print)
            assert not chosen.retrained
            assert chosen.accuracy == record.accuracy
            said = "the training began with weights of trial" in model_card(chosen, loading="")
            assert said == (record.inherited is not None)


def test_training_again_begins_with_what_was_inherited(registry: MixerRegistry) -> None:
    runner(registry, train={"inherit": True}).run()
    folder = Path("runs/tiny")
    past = open_past_study(folder, registry)
    record = next(record for record in past.records if record.inherited is not None)
    (folder / "best.safetensors").unlink()
    (folder / "weights" / f"{record.digest}.safetensors").unlink()
    chosen = choose(past, record, retrain=True, allow_drift=False, note=print)
    assert chosen.retrained
    assert chosen.accuracy == record.accuracy
