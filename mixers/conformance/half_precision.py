"""Outputs under autocast against those in double precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mixers.conformance.records import CheckFailed, require
from mixers.conformance.subject import Subject, run

# The error allowed, as its root mean square over that of the outputs
_TOLERANCES = {torch.bfloat16: 0.1, torch.float16: 0.03}
_NOT_ON_THE_CPU = "not implemented for"


def check_half_precision(subject: Subject) -> str:
    """bfloat16 and float16 under autocast give what double precision gives, as far as they can.

    The input is of float32, as after a norm, and of the half type, as after a convolution.
    """
    mixer = subject.telling(subject.small_site)
    exact = subject.telling(subject.small_site, dtype=torch.float64)
    images = subject.images(2, subject.small_site)
    details = []
    for half, tolerance in _TOLERANCES.items():
        name = str(half).removeprefix("torch.")
        try:
            errors = [_error(mixer, exact, images.to(kind), half) for kind in (torch.float32, half)]
        except RuntimeError as error:
            if _NOT_ON_THE_CPU not in str(error):
                raise
            details.append(f"{name} not on the CPU")
            continue
        require(
            max(errors) <= tolerance,  # also false for nan
            f"autocast to {name}: outputs are wrong by {max(errors):.2g} of their size; "
            f"rounding explains {tolerance}",
        )
        details.append(f"{name} within {max(errors):.2g}")
    return ", ".join(details)


def _error(mixer: nn.Module, exact: nn.Module, images: Tensor, half: torch.dtype) -> float:
    with torch.no_grad():
        expected = run(exact, images.double())
        with torch.autocast("cpu", dtype=half):
            found = run(mixer, images)
    if found.shape != expected.shape:
        raise CheckFailed(f"autocast changes the shape to {tuple(found.shape)}")
    difference = (found.double() - expected).square().mean().sqrt()
    size = expected.square().mean().sqrt()
    return float(difference / size) if size else float(difference)
