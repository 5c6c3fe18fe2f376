"""What can be built at the sizes of a study, and what is said where nothing can."""

from __future__ import annotations

import pytest
from tiny import STUDY, write_study
from torch import nn

from metaformer import SpecError
from mixers import MixerRegistry
from search.config.load import load_study
from search.space import buildability as buildable
from search.space.buildability import BuildCheck, require_some_buildable
from search.space.search_space import SearchSpace


def a_space(registry: MixerRegistry, text: str = STUDY) -> SearchSpace:
    study = load_study(write_study(text), {}, device="cpu")
    return SearchSpace(study.space, registry, fields={"name": "x", "num_classes": 10})


def test_an_image_too_small_for_every_candidate_is_said_with_its_setting(
    registry: MixerRegistry,
) -> None:
    text = STUDY.replace("kernel_size: 2, stride: 2", "kernel_size: 8, stride: 8")
    check = BuildCheck(registry, {"train.image_size": 4})
    with pytest.raises(SpecError) as caught:
        require_some_buildable(a_space(registry, text), check)
    message = str(caught.value)
    assert message.startswith("tiny.yaml:8:9: stem: none of 50 candidates drawn from the space")
    assert "for images of 4 pixels; allowed: 8 pixels or more" in message
    assert "asked for by train.image_size 4" in message
    assert len(caught.value.problems) == 1


def test_options_that_fit_no_width_are_said_in_their_place(registry: MixerRegistry) -> None:
    mixer = "mixer: {choice: [{conv: {groups: {choice: [5, 7]}}}]}"
    text = STUDY.replace("mixer: {choice: [identity, pooling]}", mixer)
    with pytest.raises(SpecError, match=r"tiny.yaml:13:\d+: stages\[0\].mixer"):
        require_some_buildable(a_space(registry, text), BuildCheck(registry, {"measure": 8}))


def test_one_candidate_that_can_be_built_is_enough(registry: MixerRegistry) -> None:
    mixer = "mixer: {choice: [{conv: {groups: {choice: [5, 7, 4]}}}]}"
    text = STUDY.replace("mixer: {choice: [identity, pooling]}", mixer)
    require_some_buildable(a_space(registry, text), BuildCheck(registry, {"measure": 8}))


def test_what_else_a_mixer_raises_is_left_to_the_evaluation(
    registry: MixerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object, **_options: object) -> nn.Module:
        raise ZeroDivisionError

    monkeypatch.setattr(buildable, "build_backbone", broken)
    require_some_buildable(a_space(registry), BuildCheck(registry, {"measure": 8}))
