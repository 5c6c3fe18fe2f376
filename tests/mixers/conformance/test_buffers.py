from __future__ import annotations

from typing import Annotated

import pytest
import torch
from torch import Tensor, nn

from mixers import Choice, Site
from mixers.conformance import CheckRecord, Status, check_mixer


class Table(nn.Module):
    """A part with a table of its own."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.table: Tensor
        self.register_buffer("table", self._values(size), persistent=False)

    def _values(self, size: int) -> Tensor:
        return torch.arange(size) / size

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[:, None, None].to(x.dtype)


class Rebuilt(Table):
    def init_non_persistent_buffers(self) -> None:
        self.table.copy_(self._values(len(self.table)))


class Wrong(Table):
    def init_non_persistent_buffers(self) -> None:
        self.table.fill_(0.5)


class OtherType(Table):
    def init_non_persistent_buffers(self) -> None:
        self.table = self._values(len(self.table)).double()


class Forgotten(Table):
    def init_non_persistent_buffers(self) -> None:
        pass


def mixer_of(part: type[nn.Module], on: str = "always") -> type[nn.Module]:
    class Mixer(nn.Module):
        def __init__(
            self, site: Site, *, how: Annotated[str, Choice("plain", "table")] = "plain"
        ) -> None:
            super().__init__()
            self.conv = nn.Conv2d(site.channels, site.channels, 1)
            with_table = on in ("always", how)
            self.part = part(site.channels) if with_table else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.part(self.conv(x))

    return Mixer


def record_of(mixer_class: type[nn.Module]) -> CheckRecord:
    (record,) = check_mixer(mixer_class, only=["non_persistent_buffers"])
    return record


def test_a_table_of_a_part_that_is_computed_again_passes() -> None:
    record = record_of(mixer_of(Rebuilt))
    assert (record.status, record.detail) == (Status.PASSED, "part.table")


@pytest.mark.parametrize("part", [Table, Wrong, Forgotten, OtherType])
def test_a_table_that_is_not_computed_again_fails_and_says_what_to_write(
    part: type[nn.Module],
) -> None:
    record = record_of(mixer_of(part))
    assert record.status is Status.FAILED
    assert record.detail.startswith("default options at 64 channels on a map of 14×14: part.table")
    assert "init_non_persistent_buffers" in record.detail


def test_a_table_that_only_an_option_brings_is_found() -> None:
    record = record_of(mixer_of(Table, on="table"))
    assert record.status is Status.FAILED
    assert record.detail.startswith("how='table' at")


def test_a_mixer_whose_buffers_are_all_saved_is_skipped() -> None:
    record = record_of(mixer_of(nn.BatchNorm2d))
    assert record.status is Status.SKIPPED
