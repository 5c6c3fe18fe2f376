"""Multiply-accumulates of mixers and of models that hold some: torch's count, completed.

torch's FLOP counter knows convolutions, matrix products and attention, and the operators of
`torch.utils.flop_counter.register_flop_formula`. Fourier transforms are counted here in addition,
and a mixer whose `macs()` states more than is counted inside it has what it states.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_aten: Any = torch.ops.aten


def _transform_flops(shape: Sequence[int], dims: Sequence[int], *, real: bool) -> int:
    """5 N log2 N operations for a complex transform over N values, half of that for a real one."""
    length = math.prod(shape[dim] for dim in dims)
    flops = 5 * math.prod(shape) * math.log2(max(length, 2))
    return int(flops / 2 if real else flops)


def _complex_transform(x: Sequence[int], dims: Sequence[int], *_: Any, **__: Any) -> int:
    return _transform_flops(x, dims, real=False)


def _from_real(x: Sequence[int], dims: Sequence[int], *_: Any, **__: Any) -> int:
    return _transform_flops(x, dims, real=True)


def _to_real(x: Any, dims: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    return _transform_flops(out_shape, dims, real=True)


FFT_FORMULAS = {
    _aten._fft_c2c: _complex_transform,
    _aten._fft_r2c: _from_real,
    _aten._fft_c2r: _to_real,
}


def flop_counter() -> FlopCounterMode:
    """A counter of torch's that knows Fourier transforms too."""
    return FlopCounterMode(display=False, custom_mapping=FFT_FORMULAS)


def stated_macs(module: nn.Module) -> int | None:
    """Return the value of `module.macs()`, for one image at its site; None without such a method.

    Raises:
        ValueError: It states anything but an integer of 0 or more.
    """
    stating = getattr(type(module), "macs", None)
    if not callable(stating):
        return None
    stated = stating(module)
    if isinstance(stated, bool) or not isinstance(stated, int) or stated < 0:
        raise ValueError(f"macs(): got {stated!r}; allowed: an integer of 0 or more")
    return stated


def macs_by_module(model: nn.Module, images: Tensor) -> dict[str, int]:
    """MACs of one forward pass of `model` by module name; those of the whole under the empty name.

    The count of a module includes those inside it. The larger of what a mixer states and of what
    is counted inside it enters all modules around it. `model` runs in the mode that it is in.
    """
    counter = flop_counter()
    with counter, counted_kernels(), autocast_on_meta(), torch.no_grad():
        model(images)
    root = type(model).__name__
    counts = {
        name.removeprefix(root).removeprefix("."): sum(by_operation.values()) // 2
        for name, by_operation in counter.get_flop_counts().items()
    }
    counts[""] = counter.get_total_flops() // 2
    for name, module in model.named_modules():
        stated = stated_macs(module)
        missing = 0 if stated is None else len(images) * stated - counts.get(name, 0)
        if missing > 0:
            for around in _names_around(name):
                counts[around] = counts.get(around, 0) + missing
    return counts


def _names_around(name: str) -> Iterator[str]:
    """The name itself, those of the modules that it lies in, and at last the empty one."""
    while name:
        yield name
        name = name.rpartition(".")[0]
    yield ""


@contextmanager
def counted_kernels() -> Iterator[None]:
    """On real tensors nn.MultiheadAttention has one operator of its own, unknown to the counter."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def autocast_on_meta() -> Iterator[None]:
    """`torch.autocast(x.device.type, enabled=False)` does nothing on the meta device inside.

    torch 2.8 to 2.15 raise there, although such an island of full precision is a usual thing to
    write and has nothing to switch off.
    """
    kind = torch.amp.autocast_mode.autocast
    before = kind.__init__

    def init(self: Any, device_type: str, *args: Any, **kwargs: Any) -> None:
        on_meta = device_type == "meta"
        before(self, "cpu" if on_meta else device_type, *args, **kwargs)
        if on_meta:
            self._enabled = False

    kind.__init__ = init  # type: ignore[method-assign]  # put back below
    try:
        yield
    finally:
        kind.__init__ = before  # type: ignore[method-assign]
