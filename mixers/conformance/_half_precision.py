"""Outputs under autocast against those in double precision."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mixers.conformance._mixer_under_test import MixerUnderTest, run
from mixers.conformance.records import CheckFailed, require

# The error allowed, as its root mean square over that of the outputs
_TOLERANCES = {torch.bfloat16: 0.05, torch.float16: 0.01}
_NOT_ON_THE_CPU = "not implemented for"


def check_half_precision(subject: MixerUnderTest) -> str:
    """bfloat16 and float16 under autocast give what double precision gives, as far as they can.

    The input is of float32, as after a norm, and of the half type, as after a convolution.
    """
    mixer = subject.randomised(subject.small_site)
    images = subject.images(2, subject.small_site)
    found, details = [], []
    for half in _TOLERANCES:
        try:
            for kind in (torch.float32, half):
                given = images.to(kind)
                with torch.no_grad(), torch.autocast(given.device.type, dtype=half):
                    found.append((half, given, run(mixer, given)))
        except RuntimeError as error:
            if _NOT_ON_THE_CPU not in str(error):
                raise
            details.append(f"{_name(half)} not on the CPU")
    mixer = mixer.double()  # the same weights, and not another mixer
    errors = dict.fromkeys((half for half, _, _ in found), 0.0)
    for half, given, output in found:
        errors[half] = max(errors[half], _error(mixer, given, output))
    for half, found_error in errors.items():
        require(
            found_error <= _TOLERANCES[half],
            f"autocast to {_name(half)}: outputs are wrong by {found_error:.2g} of their size; "
            f"rounding explains {_TOLERANCES[half]}",
        )
        details.append(f"{_name(half)} within {found_error:.2g}")
    return ", ".join(details)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _error(exact: nn.Module, images: Tensor, found: Tensor) -> float:
    with torch.no_grad():
        expected = run(exact, images.double())
    if found.shape != expected.shape:
        raise CheckFailed(f"autocast changes the shape to {tuple(found.shape)}")
    difference = (found.double() - expected).square().mean().sqrt()
    size = expected.square().mean().sqrt()
    error = float(difference / size) if size else float(difference)
    return error if math.isfinite(error) else math.inf
