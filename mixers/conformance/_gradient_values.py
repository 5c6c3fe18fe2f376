"""Gradients against differences of the loss, along one direction for each tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mixers.conformance._global_state import seed_torch
from mixers.conformance._mixer_under_test import MixerUnderTest, kept_precision, randomise, run
from mixers.conformance.records import require

# By whether float64 is kept: how far to step, the relative error allowed, and the error, relative
# to the sum of the loss's terms, that rounding explains. Small steps seldom cross a kink.
_EXACT = (1e-6, 1e-4, 1e-8)
_COARSE = (3e-4, 5e-2, 1e-5)


def check_gradient_values(subject: MixerUnderTest) -> str:
    """Derivatives of a random sum of the outputs along random directions, in double precision.

    In evaluation for the input and each parameter; in training for the input, and for parameters
    if no buffers follow from them, as in spectral normalisation.
    """
    names: list[str] = []
    for training, words in ((False, "evaluation"), (True, "training")):
        mixer = randomise(subject.build(subject.small_site)).double().train(training)
        images = subject.images(2, subject.small_site, torch.float64).requires_grad_()
        tensors: dict[str, Tensor] = {"the input": images}
        if not training or not any(True for _ in mixer.buffers()):
            tensors.update({n: p for n, p in mixer.named_parameters() if p.requires_grad})
        _require_right(mixer, images, tensors, words)
        names = names or list(tensors)
    return f"the input and {len(names) - 1} parameters"


def _require_right(
    mixer: nn.Module, images: Tensor, tensors: dict[str, Tensor], words: str
) -> None:
    exact = kept_precision(mixer, images).dtype is torch.float64
    step, tolerance, rounding = _EXACT if exact else _COARSE
    generator = torch.Generator("cpu").manual_seed(2)
    weights = _random_like(images, generator)
    loss = _loss(mixer, images, weights)
    terms = loss()
    gradients = torch.autograd.grad(terms.sum(), list(tensors.values()), allow_unused=True)
    floor = rounding * float(terms.detach().abs().sum())
    for (name, tensor), gradient in zip(tensors.items(), gradients, strict=True):
        direction = _random_like(tensor, generator)
        gradient = torch.zeros_like(tensor) if gradient is None else gradient
        stated = float((gradient * direction).sum())
        found = _difference(loss, tensor, direction, step)
        scale = float(gradient.norm()) + abs(found)
        require(
            abs(found - stated) <= tolerance * scale + floor,  # also false for nan
            f"{words}: along a random direction of {name} the loss changes by {found:.4g}, its "
            f"gradient says {stated:.4g}",
        )


def _random_like(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """The same numbers on every device."""
    shape, dtype = tensor.shape, torch.float64
    return torch.randn(shape, generator=generator, dtype=dtype, device="cpu").to(tensor.device)


def _loss(mixer: nn.Module, images: Tensor, weights: Tensor) -> Callable[[], Tensor]:
    """The terms of the loss, with the same random numbers and buffers at each call."""
    buffers = [(buffer, buffer.clone()) for buffer in mixer.buffers()]

    def terms() -> Tensor:
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        seed_torch(7)
        return run(mixer, images).double() * weights

    return terms


def _difference(
    loss: Callable[[], Tensor], tensor: Tensor, direction: Tensor, step: float
) -> float:
    """The central difference of the loss along `direction`; `tensor` is put back."""
    before = tensor.detach().clone()
    values = []
    with torch.no_grad():
        for sign in (1.0, -1.0):
            tensor.copy_(before + sign * step * direction)
            values.append(float(loss().sum()))
        tensor.copy_(before)
    return (values[0] - values[1]) / (2 * step)
