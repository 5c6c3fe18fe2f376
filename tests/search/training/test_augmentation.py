from __future__ import annotations

import pytest
import torch
from torch import Tensor

from search.training import augment
from search.training.config import Augmentation

NOTHING = {"shift": 0.0, "mirror": "never"}


def changed(
    images: Tensor, *, keeps_its_label: bool = False, seed: int = 0, **fields: object
) -> Tensor:
    config = Augmentation.model_validate({**NOTHING, **fields})
    generator = torch.Generator().manual_seed(seed)
    return augment(images, config, mirror=keeps_its_label, generator=generator)


def pictures(count: int = 64, side: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def test_nothing_asked_for_changes_nothing() -> None:
    images = pictures()
    assert torch.equal(changed(images), images.float())


def test_shifts_keep_size_and_values_and_mirroring_is_optional() -> None:
    images = pictures()
    shifted = changed(images, shift=0.125)
    assert shifted.shape == images.shape
    assert not torch.equal(shifted, images.float())
    interior = images[:, :, 4:12, 4:12].float()
    # every interior of a source image is found, unmirrored, within two positions of its place
    for image, source in zip(shifted, interior, strict=True):
        places = [image[:, y : y + 8, x : x + 8] for y in range(2, 7) for x in range(2, 7)]
        assert any(torch.equal(place, source) for place in places)


@pytest.mark.parametrize(
    ("asked", "keeps_its_label", "mirrored"),
    [("auto", True, True), ("auto", False, False), ("always", False, True), ("never", True, False)],
)
def test_half_of_the_images_are_mirrored_where_labels_or_the_study_allow_it(
    asked: str, keeps_its_label: bool, mirrored: bool
) -> None:
    ramp = torch.arange(16, dtype=torch.uint8).repeat(200, 3, 16, 1)
    out = changed(ramp, keeps_its_label=keeps_its_label, mirror=asked)
    falling = (out[:, 0, 0, 0] > out[:, 0, 0, -1]).float().mean()
    assert (0.35 < falling < 0.65) if mirrored else falling == 0


def test_a_crop_shows_a_part_of_the_image_upright_at_full_size() -> None:
    row = torch.arange(64, dtype=torch.uint8)
    wide = row.repeat(100, 3, 64, 1)
    out = changed(wide, smallest_crop=0.25)
    assert out.shape == wide.shape
    assert bool((out.diff(dim=-1) >= 0).all())
    shown = out[:, 0, 0, -1] - out[:, 0, 0, 0]
    assert 20 < shown.min() < 40  # a quarter of the area at an aspect of 3:4 is 43 % of the side
    assert shown.max() > 60


def test_colors_change_by_image_and_stay_colors() -> None:
    grey = torch.full((50, 3, 4, 4), 128, dtype=torch.uint8)
    out = changed(grey, color=0.5)
    means = out.mean((1, 2, 3))
    assert 60 < means.min() < 90
    assert 166 < means.max() < 196
    bright = changed(torch.full((50, 3, 4, 4), 250, dtype=torch.uint8), color=1.0)
    assert bright.max() <= 255
    assert bright.min() >= 0


def test_a_rectangle_of_the_mean_is_erased_in_that_share_of_the_images() -> None:
    black = torch.zeros(400, 3, 32, 32, dtype=torch.uint8)
    out = changed(black, erase=0.25)
    hidden = (out[:, 0] > 0).float().mean((1, 2))
    assert 0.18 < (hidden > 0).float().mean() < 0.32
    assert hidden.max() < 0.4
    first = out[hidden > 0][0, 0] > 0
    rows, columns = first.any(1), first.any(0)
    assert torch.equal(first, rows[:, None] & columns[None, :])


@pytest.mark.parametrize(
    "fields",
    [
        {"shift": 0.25},
        {"smallest_crop": 0.3},
        {"mirror": "always"},
        {"color": 0.4},
        {"erase": 0.5},
        {"shift": 0.1, "smallest_crop": 0.3, "mirror": "always", "color": 0.4, "erase": 0.5},
    ],
)
def test_a_seed_repeats_every_change_and_another_gives_others(fields: dict[str, object]) -> None:
    images = pictures()

    def seen(seed: int) -> Tensor:
        return changed(images, seed=seed, **fields)  # type: ignore[arg-type]

    torch.rand(1)  # the global generator has no part in it
    first = seen(1)
    torch.rand(1)
    assert torch.equal(first, seen(1))
    assert not torch.equal(first, seen(2))
