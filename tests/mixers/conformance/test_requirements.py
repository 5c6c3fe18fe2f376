from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mixers import Site
from mixers.conformance import CHECK_NAMES, Status, check_mixer


class NeedsCuda(nn.Module):
    requires = ("cuda",)

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            assert x.is_cuda, "the kernel is for CUDA only"
        return self.conv(x)


class NeedsAMainframe(NeedsCuda):
    requires = ("mainframe",)


def test_a_mixer_that_requires_cuda_is_skipped_on_a_cpu_and_nothing_fails() -> None:
    records = {record.check: record for record in check_mixer(NeedsCuda, device="cpu")}
    ran = {name for name, record in records.items() if record.status is not Status.SKIPPED}
    assert ran == {"signature", "declarations"}
    assert list(records) == list(CHECK_NAMES)
    assert {r.status for r in records.values()} == {Status.PASSED, Status.SKIPPED}
    assert records["shapes"].detail.startswith("requires cuda, checked on cpu")
    assert "requires cuda" in records["declarations"].detail


def test_a_requirement_that_there_is_not_fails_with_those_that_there_are() -> None:
    (record,) = check_mixer(NeedsAMainframe, only=["declarations"])
    assert record.status is Status.FAILED
    assert """requires: got 'mainframe'; allowed: "cuda\"""" in record.detail


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_mixer_that_requires_cuda_is_checked_there() -> None:
    records = check_mixer(NeedsCuda)
    assert [record for record in records if record.status is Status.FAILED] == []
    assert {r.check for r in records if r.status is Status.PASSED} >= {"shapes", "macs", "export"}
