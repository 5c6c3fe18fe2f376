"""Gradients, random numbers, training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from mixers.conformance._global_state import seed_torch
from mixers.conformance._mixer_under_test import MixerUnderTest, randomise, require_equal, run
from mixers.conformance._sites import describe
from mixers.conformance.records import require
from mixers.interface import Site

_REORDERED = 1e-5  # other kernels may serve if no gradients are kept


def check_gradients_fp32(subject: MixerUnderTest) -> str:
    """Finite gradients for the input and for every parameter that is not frozen."""
    return _check_gradients(subject, nullcontext())


def check_gradients_bf16(subject: MixerUnderTest) -> str:
    """The same under autocast to bfloat16."""
    kind = torch.get_default_device().type
    return _check_gradients(subject, torch.autocast(kind, dtype=torch.bfloat16))


def _check_gradients(subject: MixerUnderTest, precision: AbstractContextManager[object]) -> str:
    names = []
    for site in subject.sites[:2]:
        for values, mixer in _initial_and_telling(subject, site):
            words = f"{values} values at {describe(site)}"
            gradients = _gradients(mixer, subject.images(2, site), precision, words)
            names = list(gradients)
            for name, gradient in gradients.items():
                require(gradient is not None, f"{words}: {name} gets no gradient")
                assert gradient is not None
                require(
                    bool(gradient.isfinite().all()),
                    f"{words}: the gradient of {name} is not finite",
                )
    return f"the input and {len(names) - 1} parameters"


def _initial_and_telling(subject: MixerUnderTest, site: Site) -> Iterator[tuple[str, nn.Module]]:
    yield "initial", subject.build(site)
    yield "random", randomise(subject.build(site))


def _gradients(
    mixer: nn.Module, images: Tensor, precision: AbstractContextManager[object], words: str
) -> dict[str, Tensor | None]:
    """Gradients of a random sum of the outputs, in training mode."""
    images.requires_grad_()
    with precision:
        output = run(mixer.train(), images)
    require(bool(output.isfinite().all()), f"{words}: the output is not finite")
    require(output.requires_grad, f"{words}: no gradient flows from the output")
    (output.float() * torch.randn(output.shape)).sum().backward()
    return {
        "the input": images.grad,
        **{name: parameter.grad for name, parameter in _trained(mixer)},
    }


def _trained(mixer: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """The parameters that are not frozen by requires_grad=False."""
    return [(name, tensor) for name, tensor in mixer.named_parameters() if tensor.requires_grad]


def check_determinism(subject: MixerUnderTest) -> str:
    """torch's seed decides weights and outputs, and the mixer does not set it."""
    one, other = (subject.build(seed=3) for _ in range(2))
    for (name, expected), (_, found) in zip(_tensors(one), _tensors(other), strict=True):
        require_equal(found, expected, f"{name} of two mixers after the same seed")
    images = subject.images()
    for training, words in ((True, "training"), (False, "evaluation")):
        outputs = []
        for mixer in (one, other):
            seed_torch(4)
            outputs.append(run(mixer.train(training), images))
        require_equal(outputs[1], outputs[0], f"two mixers after the same seed, in {words}")
    drawn = []
    for seed in (5, 6):
        subject.build(seed=seed)
        drawn.append(torch.rand(8))
    require(
        not torch.equal(*drawn), "the constructor seeds torch: what is drawn after it is the same"
    )
    return ""


def _tensors(mixer: nn.Module) -> list[tuple[str, Tensor]]:
    return [*mixer.named_parameters(), *mixer.named_buffers()]


def check_train_and_eval(subject: MixerUnderTest) -> str:
    """Both modes run and are left to the caller; evaluation gives the same twice and changes no
    buffer; training gives the shape and type of its input."""
    mixer = randomise(subject.build())
    images = subject.images()
    output = run(mixer.train(), images)
    require(mixer.training, "training switches the mixer to evaluation, or train() does nothing")
    require(
        (output.shape, output.dtype) == (images.shape, images.dtype),
        f"in training an input of {tuple(images.shape)} and {images.dtype} gives an output of "
        f"{tuple(output.shape)} and {output.dtype}",
    )
    _require_evaluation(mixer.eval(), "mixer.eval() leaves")
    before = {name: buffer.clone() for name, buffer in mixer.named_buffers()}
    first, second = run(mixer, images), run(mixer, images)
    require_equal(second, first, "two calls in evaluation mode")
    for words, mode in (("no_grad", torch.no_grad), ("inference_mode", torch.inference_mode)):
        with mode():
            require_equal(run(mixer, images), first, f"under {words}", tolerance=_REORDERED)
    _require_evaluation(mixer, "evaluation switches")
    for name, buffer in mixer.named_buffers():
        require(
            name in before and torch.equal(buffer, before[name]),
            f"evaluation changes the buffer {name}",
        )
    return ""


def _require_evaluation(mixer: nn.Module, words: str) -> None:
    in_training = [name or "the mixer" for name, part in mixer.named_modules() if part.training]
    require(not in_training, f"{words} {', '.join(in_training)} in training mode")
