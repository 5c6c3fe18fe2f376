"""MACs, counted for free on the meta device, are those of the real thing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mixers.conformance.records import require
from mixers.conformance.subject import Subject
from mixers.contract import Site


def check_macs(subject: Subject) -> str:
    """Equal on meta and on real tensors, twice as many for two images, and not forgotten."""
    site = subject.site
    with torch.device("meta"):
        mixer = subject.build()
        one, two = (_macs(mixer, site, batch) for batch in (1, 2))
    real = _macs(subject.build(), site, 1)
    require(one == real, f"{one} MACs on the meta device, {real} on real tensors")
    require(two == 2 * one, f"{one} MACs for one image, {two} for two")
    wide = [
        name
        for name, parameter in mixer.named_parameters()
        if sum(side > 1 for side in parameter.shape) >= 2
    ]
    require(
        one > 0 or not wide,
        f"0 MACs, though there is {', '.join(wide)}: torch counts convolutions and matrix "
        "products only, and would take this mixer for free; write it as one of these",
    )
    return f"{one} MACs at {site.channels}×{site.height}×{site.width}"


def _macs(mixer: nn.Module, site: Site, batch: int) -> int:
    counter = FlopCounterMode(display=False)
    mixer.eval()
    with _no_fast_path(), counter, torch.no_grad():
        mixer(torch.zeros(batch, site.channels, site.height, site.width))
    return counter.get_total_flops() // 2


@contextmanager
def _no_fast_path() -> Iterator[None]:
    """On real tensors nn.MultiheadAttention has one operator of its own, unknown to the counter."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
