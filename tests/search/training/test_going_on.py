"""A training that was stopped and continues from its checkpoint equals one that never stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from small_training import EVERYTHING, same, settings, trained

from search.errors import Interrupted
from search.training import CheckpointProblem
from search.training._optimizers import optimizer_names

AUGMENTATIONS = st.fixed_dictionaries(
    {},
    optional={
        "shift": st.sampled_from([0.0, 0.125]),
        "smallest_crop": st.sampled_from([0.5, 1.0]),
        "mirror": st.sampled_from(["auto", "always", "never"]),
        "color": st.sampled_from([0.0, 0.4]),
        "erase": st.sampled_from([0.0, 0.5]),
        "mixup": st.sampled_from([0.0, 0.2]),
        "cutmix": st.sampled_from([0.0, 1.0]),
    },
)
RECIPES = st.fixed_dictionaries(
    {"augmentation": AUGMENTATIONS},
    optional={
        "optimizer": st.sampled_from(["adamw", "sgd", "lamb", "lion", "muon", "adafactorbv"]),
        "schedule": st.sampled_from(["cosine", "linear", "constant"]),
        "warm_up_epochs": st.sampled_from([0.0, 0.5, 2.0]),
        "min_learning_rate": st.sampled_from([0.0, 1e-4]),
        "label_smoothing": st.sampled_from([0.0, 0.1]),
        "gradient_norm": st.sampled_from([0.5, 5.0]),
        "ema_decay": st.sampled_from([0.5, 0.99]),
        "precision": st.sampled_from(["fp32", "bf16", "fp16"]),
        "weight_decay": st.sampled_from([0.0, 0.05]),
    },
)


@given(recipe=RECIPES, stops=st.sets(st.integers(1, 3)), seed=st.integers(0, 2**31 - 1))
@hypothesis_settings(max_examples=25, deadline=None, derandomize=True)
def test_a_training_in_pieces_equals_one_in_a_piece(
    tmp_path_factory: pytest.TempPathFactory, recipe: dict[str, Any], stops: set[int], seed: int
) -> None:
    config = settings(**recipe)
    file = tmp_path_factory.mktemp("going_on") / "training.pt"
    whole, score = trained(config, seed=seed)
    for epochs in sorted(stops | {3}):
        torch.rand(3)  # what else draws random numbers in between has no part in it
        pieces, last = trained(config, seed=seed, checkpoint=file, epochs=epochs)
    assert same(whole, pieces)
    assert last == score


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", optimizer_names())
def test_every_optimizer_that_is_allowed_goes_on(tmp_path: Path, optimizer: str) -> None:
    config = settings(optimizer=optimizer, precision="fp16", ema_decay=0.9, gradient_norm=1.0)
    whole, score = trained(config)
    for epochs in (1, 3):
        pieces, last = trained(config, checkpoint=tmp_path / "training.pt", epochs=epochs)
    assert same(whole, pieces)
    assert last == score


def test_a_training_that_is_stopped_in_an_epoch_goes_on_from_its_last_whole_one(
    tmp_path: Path,
) -> None:
    config = settings(augmentation=EVERYTHING, ema_decay=0.9)
    file = tmp_path / "training.pt"
    whole, score = trained(config)
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 20:  # an epoch asks seven times to train and four times to validate
            raise Interrupted

    with pytest.raises(Interrupted):
        trained(config, checkpoint=file, check=check)
    heard: list[int] = []
    pieces, last = trained(config, checkpoint=file, on_epoch=lambda epoch, _: heard.append(epoch))
    assert heard == [2, 3]
    assert same(whole, pieces)
    assert last == score


def test_the_scaler_of_fp16_goes_on_counting(tmp_path: Path) -> None:
    file = tmp_path / "training.pt"
    for epochs in (1, 2, 3):
        trained(settings(precision="fp16"), checkpoint=file, epochs=epochs)
    kept = torch.load(file, weights_only=True)["state"]["state"]
    assert kept["scaler"]["_growth_tracker"] == 18  # steps, six an epoch


def test_a_training_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    config = settings(ema_decay=0.9)
    file = tmp_path / "training.pt"
    heard: list[int] = []
    first = trained(config, checkpoint=file)
    again = trained(config, checkpoint=file, on_epoch=lambda epoch, _: heard.append(epoch))
    assert heard == []
    assert same(first[0], again[0])
    assert first[1] == again[1]


def test_a_rung_ends_early_on_the_schedule_of_the_whole_training() -> None:
    whole = trained(settings(epochs=3))[1]
    weights, rung = trained(settings(epochs=3), epochs=2)
    assert rung.by_epoch == whole.by_epoch[:2]
    assert not same(weights, trained(settings(epochs=2))[0])
    assert (rung.epochs, rung.value) == (2, rung.by_epoch[-1])


@pytest.mark.parametrize("epochs", [0, 4])
def test_a_rung_lies_within_the_training(epochs: int) -> None:
    with pytest.raises(ValueError, match=f"epochs: got {epochs}; allowed: 1 to 3"):
        trained(settings(), epochs=epochs)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"seed": 2}, "is of another training"),
        ({"config": settings(learning_rate=1e-3)}, "is of another training"),
        ({"epochs": 1}, "is after epoch 2, and 1 were asked for"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    tmp_path: Path, other: dict[str, Any], words: str
) -> None:
    file = tmp_path / "training.pt"
    trained(settings(), checkpoint=file, epochs=2)
    options = {"config": settings(), "seed": 1, **other}
    with pytest.raises(CheckpointProblem, match=words):
        trained(**options, checkpoint=file)


def test_a_checkpoint_that_cannot_be_written_does_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_source: object, _target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    notes: list[str] = []
    kept = trained(settings(), checkpoint=tmp_path / "training.pt", note=notes.append)
    assert same(kept[0], trained(settings())[0])
    assert len(notes) == 3
    assert notes[0].endswith("training.pt: no checkpoint kept: No space left on device")
