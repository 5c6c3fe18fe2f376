from __future__ import annotations

import pytest
import torch
from published_mixers import GOOD
from torch import Tensor, nn

from metaformer import load_spec
from metaformer.backbone import build_backbone
from metaformer.counting import cost_of, cost_of_mixer, count_macs
from mixers import MixerRegistry, Site
from mixers.macs import autocast_on_meta, macs_by_module, stated_macs


class Stating(nn.Module):
    """A product that no counter sees, of as many MACs as it is told to state."""

    def __init__(self, macs: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1, bias=False)
        self.stated = macs

    def macs(self) -> object:
        return self.stated

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


IMAGES = torch.zeros(2, 4, 3, 3, device="meta")
COUNTED = 2 * 4 * 4 * 9


def test_what_a_mixer_states_enters_every_module_around_it() -> None:
    model = nn.Sequential(nn.Sequential(Stating(1000)), nn.Conv2d(4, 4, 1)).to("meta")
    macs = macs_by_module(model, IMAGES)
    assert macs["0.0"] == macs["0"] == 2 * 1000
    assert macs[""] == 2 * 1000 + COUNTED
    assert macs["1"] == COUNTED


def test_a_mixer_that_states_less_than_is_counted_has_what_is_counted() -> None:
    assert macs_by_module(Stating(1).to("meta"), IMAGES)[""] == COUNTED


@pytest.mark.parametrize("stated", [-1, 2.0, True, "many", None])
def test_macs_that_are_no_count_are_refused(stated: object) -> None:
    with pytest.raises(ValueError, match=r"macs\(\): got .*; allowed: an integer of 0 or more"):
        stated_macs(Stating(stated))


def test_fourier_transforms_are_counted_as_half_of_five_n_log_n() -> None:
    def transform(x: Tensor) -> Tensor:
        return torch.fft.fft(torch.complex(x, x)).real

    class Transforming(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return transform(x)

    images = torch.zeros(1, 1, 1, 8, device="meta")
    assert macs_by_module(Transforming(), images)[""] == 5 * 8 * 3 // 2


def test_a_mixer_of_transforms_costs_the_same_wherever_it_is_counted() -> None:
    site = Site(16, 8, 8)
    with torch.device("meta"):
        mixer = GOOD["GlobalFilter"](site)
    alone = cost_of_mixer(mixer, site).macs
    assert alone > 0
    assert count_macs(nn.Sequential(mixer), 8, in_channels=16) == alone


def test_the_stage_and_the_total_of_a_backbone_hold_what_its_mixer_states(
    registry: MixerRegistry,
) -> None:
    model = build_backbone(load_spec("inceptionnext_t"), registry, image_size=32, device="meta")
    before = cost_of(model)
    block = next(part for name, part in model.stages[1].named_modules() if "mixer" in name)
    type(block).macs = lambda self: 10**9  # type: ignore[attr-defined]
    try:
        after = cost_of(model)
    finally:
        del type(block).macs  # type: ignore[attr-defined]
    assert after.stages[1].macs > 10**9 > before.stages[1].macs
    assert after.total.macs - before.total.macs == sum(
        new.macs - old.macs for new, old in zip(after.stages, before.stages, strict=True)
    )


def test_an_island_of_full_precision_runs_on_the_meta_device_and_torch_is_put_back() -> None:
    before = torch.autocast.__init__
    with autocast_on_meta(), torch.autocast("meta", enabled=False):
        pass
    assert torch.autocast.__init__ is before
    with pytest.raises(RuntimeError):
        torch.autocast("meta", enabled=False)
