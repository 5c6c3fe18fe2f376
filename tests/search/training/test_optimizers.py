from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from pydantic import ValidationError
from small_training import settings, small_network

from metaformer.backbone import build_backbone
from metaformer.spec import BackboneSpec
from mixers import MixerRegistry
from search.training._optimizers import LearningRate, make_optimizer, optimizer_names


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("adamww", "got adamww: timm has no such optimizer; allowed: .*did you mean adamw"),
        ("fusedadam", "needs a package that is no part of this project"),
        ("adahessian", "it needs derivatives of gradients"),
    ],
)
def test_an_optimizer_that_cannot_be_used_is_answered_with_the_nearest(
    name: str, words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(optimizer=name)


def test_timms_names_are_allowed() -> None:
    assert {"adamw", "sgd", "lamb", "lion", "muon", "nadamw", "rmsprop"} <= set(optimizer_names())


def test_biases_norms_scales_and_what_the_model_exempts_do_not_decay(
    registry: MixerRegistry,
) -> None:
    stage = {"depth": 1, "width": 16, "block": "metaformer", "norm": "layer_norm"}
    stage |= {"mixer": {"window_attention": {"window": 2}}, "layer_scale": 0.1}
    stem = {"kernel_size": 2, "stride": 2, "norm": "batch_norm"}
    fields = {"name": "x", "num_classes": 10, "image_size": 8, "stem": stem, "stages": [stage]}
    model = build_backbone(BackboneSpec.model_validate(fields), registry)
    optimizer = make_optimizer(model, settings())
    exempt, decayed = optimizer.param_groups
    assert exempt["weight_decay"] == 0
    assert decayed["weight_decay"] == 0.05
    names = {parameter: name for name, parameter in model.named_parameters()}
    still = {names[parameter] for parameter in exempt["params"]}
    assert any("scale" in name for name in still)
    assert any("position_bias" in name for name in still)
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert len(still) + len(decayed["params"]) == len(names)


def rates(steps_per_epoch: int = 10, **fields: Any) -> list[float]:
    config = settings(epochs=10, learning_rate=1.0, **fields)
    optimizer = make_optimizer(small_network(), config)
    schedule = LearningRate(optimizer, config, steps_per_epoch)
    seen = []
    for step in range(10 * steps_per_epoch):
        schedule.set(step)
        seen.append(float(optimizer.param_groups[0]["lr"]))
    return seen


def test_a_warm_up_rises_from_a_hundredth_over_a_tenth_of_the_epochs() -> None:
    seen = rates()
    assert seen[0] == pytest.approx(0.01)
    assert seen[10] == pytest.approx(1.0)
    assert seen[:11] == sorted(seen[:11])
    assert rates(warm_up_epochs=0.0)[0] == 1.0
    assert max(range(100), key=rates(warm_up_epochs=3.0).__getitem__) == 30


def test_the_cosine_falls_as_a_cosine_over_what_is_left() -> None:
    for step, rate in list(enumerate(rates()))[10:]:
        assert rate == pytest.approx(0.5 * (1 + math.cos(math.pi * (step - 10) / 90)))


def test_the_line_falls_evenly_and_the_constant_not_at_all() -> None:
    line = rates(schedule="linear", min_learning_rate=0.1)
    steps = {round(a - b, 6) for a, b in pairwise(line[10:])}
    assert steps == {0.01}
    assert set(rates(schedule="constant")[10:]) == {1.0}


def test_the_rate_follows_from_the_step_alone() -> None:
    config = settings(epochs=10, learning_rate=1.0)
    optimizer = make_optimizer(small_network(), config)
    LearningRate(optimizer, config, 10).set(57)
    assert optimizer.param_groups[0]["lr"] == rates()[57]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"warm_up_epochs": 3.0}, "got 3; allowed: less than the 3 epochs"),
        ({"min_learning_rate": 0.1}, "got 0.1; allowed: at most 0.002, the learning rate"),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused(fields: dict[str, float], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(**fields)
