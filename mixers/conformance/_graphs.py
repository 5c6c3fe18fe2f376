"""torch.compile, torch.export, TorchScript and FX: the same outputs from a graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mixers.conformance._mixer_under_test import MixerUnderTest, require_equal, run
from mixers.conformance.records import NotApplicable

_TOLERANCE = 1e-5  # graphs may fuse and reorder


def check_compile(subject: MixerUnderTest) -> str:
    """torch.compile takes the whole forward and backward as one graph."""
    torch._dynamo.reset()
    try:
        mixer = subject.randomised()
        results = []
        for forward in (mixer, torch.compile(mixer, fullgraph=True, backend="aot_eager")):
            images = subject.images().requires_grad_()
            output = run(forward, images)
            (gradient,) = torch.autograd.grad(output.square().sum(), images)
            results.append((output, gradient))
    finally:
        torch._dynamo.reset()
    (expected, gradient), (found, gradient_found) = results
    require_equal(found, expected, "compiled", tolerance=_TOLERANCE)
    require_equal(gradient_found, gradient, "the compiled gradient", tolerance=10 * _TOLERANCE)
    return "fullgraph, aot_eager"


def check_export(subject: MixerUnderTest) -> str:
    """torch.export with any batch size, run at another one than it was traced with."""
    mixer = subject.randomised()
    batch = torch.export.Dim("batch", min=1, max=64)
    with torch.no_grad():
        exported = torch.export.export(
            mixer, (subject.images(2),), dynamic_shapes=({0: batch},)
        ).module()
        for size in (5, 1):
            expected = run(mixer, subject.images(size))
            found = run(exported, subject.images(size))
            require_equal(found, expected, f"exported, batch {size}", tolerance=_TOLERANCE)
    return "batch sizes 1 to 64"


def check_torchscript(subject: MixerUnderTest) -> str:
    """TorchScript, if `supports_torchscript` is declared."""
    return _check_declared(subject, "supports_torchscript", torch.jit.script)


def check_fx(subject: MixerUnderTest) -> str:
    """Symbolic tracing, if `supports_fx` is declared."""
    return _check_declared(subject, "supports_fx", torch.fx.symbolic_trace)


def _check_declared(
    subject: MixerUnderTest, name: str, convert: Callable[[nn.Module], nn.Module]
) -> str:
    if not subject.declares(name):
        raise NotApplicable("not declared")
    for site in subject.sites[:2]:
        mixer = subject.randomised(site)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch deprecates the one and warns of the other
            converted = convert(mixer)
            for batch in (2, 3):
                images = subject.images(batch, site)
                found: Tensor = run(converted, images)
                expected = run(mixer, images)
                require_equal(found, expected, f"batch {batch}", tolerance=_TOLERANCE)
    return ""
