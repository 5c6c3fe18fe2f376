"""Mixers that `mixer: any` stands for in a study, by its device and its sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import STUDY, write_study
from torch import Tensor, nn

from metaformer import SpecError
from mixers import MixerRegistry, Site
from mixers._entry import MixerEntry
from search.config.load import load_study
from search.config.study_space import open_space
from search.space.search_space import SearchSpace

ANY = STUDY.replace("{choice: [identity, pooling]}", "any")


class Mixing(nn.Module):
    def __init__(self, site: Site) -> None:
        raise AssertionError("what any stands for is found without building")

    def forward(self, x: Tensor) -> Tensor:
        return x


class NeedsCuda(Mixing):
    requires = ("cuda",)


class NeedsAMainframe(Mixing):
    requires = ("mainframe",)


def allowing(answer: Any) -> type[nn.Module]:
    return type("Allowing", (Mixing,), {"allows": staticmethod(answer)})


def space_with(
    found: type[nn.Module],
    registry: MixerRegistry,
    text: str = ANY,
    *,
    device: str = "cpu",
    any_mixers: list[str] | None = None,
) -> SearchSpace:
    entry = MixerEntry("mine", "strangers", "1.0", "strangers:Mine", lambda: found)
    own = {name: registry[name] for name in ("identity", "pooling")}
    everything = MixerRegistry({**own, entry.name: entry})
    study = load_study(write_study(text), {}, device="cpu")
    return open_space(
        study.space,
        everything,
        study.config,
        torch.device(device),
        any_mixers=any_mixers,
        fields={"name": "x", "num_classes": 10},
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda site: f"{site.height} rows", "most often: 4 rows"),
        (lambda site: "deep" if site.network_depth < 3 else None, "most often: deep"),
        (lambda site: "narrow" if site.channels < 9 else None, "most often: narrow"),
        (lambda site: 1 / 0, "ZeroDivisionError"),
        (lambda site: False, "allows: returned False"),
        (lambda site, kernel: None, "missing 1 required positional argument"),
    ],
)
def test_a_mixer_that_allows_no_site_or_cannot_be_asked_is_left_out_with_the_reason(
    answer: Any, words: str, registry: MixerRegistry
) -> None:
    space = space_with(allowing(answer), registry)
    assert space.mixer_names == {"identity", "pooling"}
    assert space.left_out.keys() == {"strangers/mine"}
    assert space.left_out["strangers/mine"].startswith("strangers/mine of strangers 1.0 ")
    assert words in space.left_out["strangers/mine"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda site: None if site.channels == 6 else "only six",
        lambda site: None if site.block == 1 else "only the second block",
        lambda site: None if site.stage_depth == 2 else "only of two",
    ],
)
def test_a_mixer_that_allows_some_sites_stays(answer: Any, registry: MixerRegistry) -> None:
    space = space_with(allowing(answer), registry)
    assert space.left_out == {}
    assert "strangers/mine" in space.mixer_names


def test_a_mixer_that_requires_another_device_is_left_out_there_only(
    registry: MixerRegistry,
) -> None:
    space = space_with(NeedsCuda, registry)
    words = "strangers/mine of strangers 1.0 requires cuda; the device is cpu"
    assert space.left_out == {"strangers/mine": words}
    assert space_with(NeedsCuda, registry, device="cuda").left_out == {}


def test_a_mixer_whose_requirement_is_none_is_left_out_with_those_that_there_are(
    registry: MixerRegistry,
) -> None:
    left_out = space_with(NeedsAMainframe, registry).left_out
    assert "got 'mainframe'; allowed: \"cuda\"" in left_out["strangers/mine"]


def test_a_study_keeps_the_mixers_that_it_began_with(registry: MixerRegistry) -> None:
    never = allowing(lambda site: "never")
    space = space_with(never, registry, any_mixers=["pooling", "strangers/mine"])
    assert space.mixer_names == {"pooling", "strangers/mine"}


def test_a_mixer_that_any_narrows_is_named_and_stays(registry: MixerRegistry) -> None:
    text = STUDY.replace("{choice: [identity, pooling]}", "{any: {mine: {}}}")
    assert "strangers/mine" in space_with(NeedsCuda, registry, text).mixer_names


def test_any_that_stands_for_nothing_is_said_in_its_place(registry: MixerRegistry) -> None:
    with pytest.raises(SpecError, match="any stands for no mixer") as caught:
        space_with(NeedsCuda, registry, any_mixers=[])
    assert caught.value.problems[0].mark is not None
