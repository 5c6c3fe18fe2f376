from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from search.data._splits import ImagesInMemory
from search.training import batches, normalise

CPU = torch.device("cpu")


class Recorded(ImagesInMemory):
    def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return super().fetch(indices)


def test_batches_cover_the_order_once_and_in_order() -> None:
    images = torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1).expand(10, 3, 2, 2)
    part = Recorded(images, torch.arange(10))
    order = [3, 1, 4, 0, 5, 9, 2, 6]
    seen = [labels.tolist() for _, labels in batches(part, order, 3)]
    assert seen == [[3, 1, 4], [0, 5, 9], [2, 6]]


def test_an_error_while_reading_reaches_the_training() -> None:
    class Broken(ImagesInMemory):
        def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(batches(Broken(torch.zeros(4, 3, 2, 2), torch.zeros(4)), range(4), 2))


def test_normalised_images_have_the_stated_mean_and_layout() -> None:
    grey = torch.full((2, 3, 4, 4), 128, dtype=torch.uint8)
    out = normalise(grey, CPU)
    expected = (128 / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
        [0.229, 0.224, 0.225]
    )
    torch.testing.assert_close(out[0, :, 0, 0], expected)
    assert out.is_contiguous(memory_format=torch.channels_last)
