from __future__ import annotations

import re
from typing import Annotated

import pytest
import torch
from torch import Tensor, nn

from mixers import Choice, Site
from mixers.conformance import Status, check_mixer
from mixers.conformance._receptive_field import measure


@pytest.mark.parametrize(
    ("kernel", "dilation", "expected"),
    [((3, 3), 1, (3, 3)), ((1, 7), 1, (1, 7)), ((5, 3), 2, (9, 5)), ((1, 1), 1, (1, 1))],
)
def test_the_measured_box_is_that_of_a_convolution(
    kernel: tuple[int, int], dilation: int, expected: tuple[int, int]
) -> None:
    padding = tuple(side // 2 * dilation for side in kernel)
    conv = nn.Conv2d(4, 4, kernel, padding=padding, dilation=dilation).double()
    assert measure(conv, Site(4, 29, 31)) == expected


def test_what_depends_on_nothing_measures_nothing() -> None:
    assert measure(lambda x: x * 0.0, Site(4, 9, 9)) == (0, 0)  # type: ignore[arg-type]


class Rows(nn.Module):
    """Each position becomes the mean of its row."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (1, site.width)

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(3, keepdim=True).expand_as(x)


class Undilated(nn.Module):
    """Declares for dilation 1, whatever the site says."""

    supports_dilation = True

    def __init__(self, site: Site, *, kernel_size: Annotated[int, Choice(3, 5, 7)] = 3) -> None:
        super().__init__()
        self.receptive_field = (kernel_size, kernel_size)
        padding = kernel_size // 2 * site.dilation
        self.conv = nn.Conv2d(
            site.channels, site.channels, kernel_size, padding=padding, dilation=site.dilation
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Unfollowed(nn.Module):
    """Declares for its default, whatever the option says; a property this time."""

    def __init__(self, site: Site, *, kernel_size: Annotated[int, Choice(3, 5, 7)] = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, kernel_size, padding=kernel_size // 2)

    @property
    def receptive_field(self) -> tuple[int, int]:
        return (3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class InWords(nn.Module):
    receptive_field = "the whole map"

    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("mixer_class", "status", "words"),
    [
        (Rows, Status.PASSED, "declares 1×31, depends on 1×31; 1 variants"),
        (Undilated, Status.FAILED, "dilation 2 at .*: declares 3×3, depends on 5×5"),
        (Unfollowed, Status.FAILED, "kernel_size=5 at .*: declares 3×3, depends on 5×5"),
        (InWords, Status.FAILED, "receptive_field: got 'the whole map'; allowed: a tuple of two"),
    ],
)
def test_the_declaration_must_hold_for_options_and_dilation(
    mixer_class: type[nn.Module], status: Status, words: str
) -> None:
    (record,) = check_mixer(mixer_class, only=["receptive_field"])
    assert record.status is status
    assert re.search(words, record.detail), record.detail


def test_rounding_is_no_dependence() -> None:
    class Transforming(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.fft.ifft2(torch.fft.fft2(x)).real

    assert measure(Transforming(), Site(4, 29, 31)) == (1, 1)
