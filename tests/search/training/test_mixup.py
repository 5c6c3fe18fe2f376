from __future__ import annotations

import numpy as np
import pytest
import torch
from small_training import settings
from torch import Tensor

from search.training._mixup import Mixing


def mixed(seed: int, count: int = 8, **augmentation: float) -> tuple[Tensor, Tensor]:
    mixing = Mixing.of(settings(augmentation=augmentation), 10)
    assert mixing is not None
    images = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    return mixing(images, torch.arange(count), torch.Generator().manual_seed(seed))


def test_nothing_is_mixed_where_nothing_is_asked_for() -> None:
    assert Mixing.of(settings(), 10) is None


def test_images_and_labels_are_mixed_alike() -> None:
    images, shares = mixed(0, mixup=1.0)
    assert torch.allclose(shares.sum(1), torch.ones(8))
    # of image 0 and its partner 7, label smoothing aside, the share of 7 is a seventh of the value
    smoothing = settings().label_smoothing
    share = (shares[0, 7] - smoothing / 10) / (1 - smoothing)
    torch.testing.assert_close(images[0, 0, 0, 0] / 7, share)
    assert 0 < share < 1


def test_cutmix_takes_a_rectangle_of_the_other_image() -> None:
    images, _ = mixed(3, cutmix=1.0)
    assert set(images[0].unique().tolist()) == {0.0, 7.0}


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_seed_repeats_the_mixing_and_numpys_own_numbers_stay_as_they_were(kind: str) -> None:
    np.random.seed(5)
    expected = np.random.rand()
    np.random.seed(5)
    first = mixed(1, **{kind: 1.0})
    assert np.random.rand() == expected
    again = mixed(1, **{kind: 1.0})
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], mixed(2, **{kind: 1.0})[1])


def test_an_odd_batch_loses_its_last_image() -> None:
    images, shares = mixed(0, count=7, mixup=1.0)
    assert len(images) == len(shares) == 6
