from __future__ import annotations

import torch

from search.data import load_data


def test_digits_are_three_equal_channels_in_three_disjoint_stratified_parts() -> None:
    data = load_data("digits", 32)
    assert (len(data.train), len(data.validation), len(data.test)) == (1079, 359, 359)
    assert data.num_classes == 10
    images, labels = data.train.fetch(range(len(data.train)))
    assert images.shape == (1079, 3, 32, 32)
    assert images.dtype == torch.uint8
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.bincount(labels).min() > 90
    assert not data.mirror


def test_no_image_of_the_reported_part_is_in_the_others() -> None:
    data = load_data("digits", 8)
    parts = []
    for part in (data.train, data.validation, data.test):
        images, labels = part.fetch(range(len(part)))
        parts.append(
            [
                (label.item(), image.numpy().tobytes())
                for image, label in zip(images, labels, strict=True)
            ]
        )
    total = sum(len(part) for part in parts)
    assert total == 1797
    # scikit-learn's digits hold no two equal images
    assert len({item for part in parts for item in part}) == total


def test_the_split_is_the_same_at_every_call() -> None:
    one, other = load_data("digits", 8), load_data("digits", 8)
    assert torch.equal(one.test.fetch(range(50))[0], other.test.fetch(range(50))[0])
