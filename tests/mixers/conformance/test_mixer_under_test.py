from __future__ import annotations

import torch
from torch import Tensor, nn

from mixers import Site
from mixers.conformance._mixer_under_test import MixerUnderTest, random_images, randomise


class Varied(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(site.channels)
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)
        self.layer_scale = nn.Parameter(torch.full((site.channels, 1, 1), 1e-6))
        self.temperature = nn.Parameter(torch.tensor(10.0))
        self.register_buffer("mask", torch.zeros(2, 2), persistent=False)
        nn.init.zeros_(self.conv.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x)) * self.layer_scale / self.temperature


def test_no_initial_zero_is_left_and_what_must_be_positive_stays_so() -> None:
    mixer = randomise(Varied(Site(16, 4, 4))).requires_grad_(False)
    assert float(mixer.conv.weight.std()) > 0.05
    assert float(mixer.layer_scale.abs().mean()) > 0.05
    assert float(mixer.norm.running_var.min()) > 0.0
    assert float(mixer.norm.running_var.std()) > 0.05
    assert float(mixer.norm.running_mean.abs().mean()) > 0.05
    assert 1.0 < float(mixer.temperature) < 100.0
    assert not mixer.mask.any()


def test_a_subject_gives_the_same_mixer_and_the_same_images_twice() -> None:
    subject = MixerUnderTest(Varied)
    states = [subject.randomised().state_dict() for _ in range(2)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert torch.equal(subject.images(), subject.images())
    fresh = MixerUnderTest(Varied).build(
        seed=3
    )  # finding a site draws nothing from the seed's numbers
    assert torch.equal(
        fresh.conv.bias, MixerUnderTest(Varied).build(Site(64, 14, 14), seed=3).conv.bias
    )


def test_images_of_other_types_are_the_same_numbers() -> None:
    images = random_images(2, 3, 4, 5, torch.float64)
    assert torch.equal(images.float(), random_images(2, 3, 4, 5))
