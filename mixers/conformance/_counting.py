"""MACs, counted for free on the meta device, are those of the real thing, and all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from mixers.conformance._mixer_under_test import MixerUnderTest
from mixers.conformance._operator_watch import OperatorWatch
from mixers.conformance.records import CheckFailed, require
from mixers.interface import Site
from mixers.macs import (
    autocast_on_meta,
    counted_kernels,
    flop_counter,
    macs_by_module,
    stated_macs,
)

_FREE_PRODUCTS = 8  # for each output value: gates, scales and norms are not counted anywhere
_PRODUCTS = ("mul", "mul_", "addcmul", "addcmul_")
_COMPLEX_FACTOR = 4  # real multiplications in a complex one
_VECTOR_PRODUCTS = {"mv": 0, "addmv": 1, "dot": 0, "vdot": 0}  # which argument has the products
_TORCHS_OWN = ("aten", "prim", "prims")


def check_macs(subject: MixerUnderTest) -> str:
    """Equal on meta and on real tensors, up to twice as many for two images, and no part left out.

    Less than twice, if kernels or position biases are computed once for a batch.
    """
    site = subject.site
    with torch.device("meta"):
        mixer = subject.build()
        one, two = (_macs(mixer, site, batch) for batch in (1, 2))
    real = _macs(subject.build(), site, 1)
    require(one == real, f"{one} MACs on the meta device, {real} on real tensors")
    require(one <= two <= 2 * one, f"{one} MACs for one image, {two} for two")
    _require_all_counted(subject, one)
    return f"{one} MACs at {site.channels}×{site.height}×{site.width}"


def _macs(mixer: nn.Module, site: Site, batch: int) -> int:
    try:
        return macs_by_module(mixer.eval(), _zeros(site, batch))[""]
    except ValueError as error:
        if str(error).startswith("macs()"):
            raise CheckFailed(str(error)) from None
        raise


def _zeros(site: Site, batch: int = 1) -> Tensor:
    return torch.zeros(batch, site.channels, site.height, site.width)


def _require_all_counted(subject: MixerUnderTest, macs: int) -> None:
    """CheckFailed if `macs()` states less than is counted, or much is computed and not counted."""
    site = subject.site
    with torch.device("meta"):
        mixer = subject.build().eval()
        counter, watch = flop_counter(), _Uncounted()
        with counter, watch, counted_kernels(), autocast_on_meta():  # gradients are kept
            mixer(_zeros(site))
    counted, stated = counter.get_total_flops() // 2, stated_macs(mixer)
    require(
        stated is not None or counted == macs,
        f"{macs} MACs under no_grad, {counted} while gradients are kept",
    )
    require(
        stated is None or stated >= counted,
        f"macs() states {stated} at {site.channels}×{site.height}×{site.width}, and torch counts "
        f"{counted} in convolutions, matrix products and Fourier transforms alone",
    )
    advice = "state all MACs of one image in a method macs(self) -> int"
    require(
        stated is not None or not watch.unknown,
        f"the operators {', '.join(sorted(watch.unknown))} are not counted; {advice}, or give them "
        "formulas by torch.utils.flop_counter.register_flop_formula",
    )
    free = _FREE_PRODUCTS * site.channels * site.height * site.width
    require(
        watch.products <= max(macs, free),
        f"{macs} MACs are counted, and {watch.products} elementwise multiplications are not, of "
        f"which norms, gates and scales explain {free} at the most; {advice}, or write them as "
        "convolutions or matrix products",
    )


class _Uncounted(OperatorWatch):
    """Counts elementwise multiplications, and names operators that no counter knows."""

    def __init__(self) -> None:
        super().__init__()
        self.products = 0
        self.unknown: set[str] = set()

    def see(self, operator: Any, arguments: Sequence[Any], output: Any) -> None:
        packet = operator.overloadpacket
        if operator.namespace not in _TORCHS_OWN and packet not in flop_registry:
            self.unknown.add(f"{operator.namespace}::{packet.__name__}")
        factors = [arg for arg in arguments if isinstance(arg, Tensor) and arg.numel() > 1]
        if packet.__name__ in _PRODUCTS and len(factors) > 1 and isinstance(output, Tensor):
            factor = _COMPLEX_FACTOR if output.is_complex() else 1
            self.products += factor * output.numel()
        elif packet.__name__ in _VECTOR_PRODUCTS:
            self.products += arguments[_VECTOR_PRODUCTS[packet.__name__]].numel()
        elif packet.__name__ == "_cdist_forward":
            self.products += output.numel() * arguments[0].shape[-1]
