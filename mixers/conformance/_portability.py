"""Moving a mixer: to the meta device, through files and copies, to another memory format."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mixers.conformance._mixer_under_test import (
    MixerUnderTest,
    kept_precision,
    randomise,
    require_equal,
    run,
)
from mixers.conformance.records import CheckFailed, require
from mixers.macs import autocast_on_meta


def check_meta_device(subject: MixerUnderTest) -> str:
    """Under torch.device("meta") nothing real is allocated, and the shape is right."""
    site = subject.site
    with torch.device("meta"), autocast_on_meta():
        mixer = subject.build()
        tensors = [*mixer.named_parameters(), *mixer.named_buffers(), *_plain_tensors(mixer)]
        for name, tensor in tensors:
            require(tensor.is_meta, f"{name} is on {tensor.device} and not on the meta device")
        images = torch.empty(2, site.channels, site.height, site.width)
        output = run(mixer, images)
    require(output.is_meta, f"the output is on {output.device} and not on the meta device")
    require(
        output.shape == images.shape,
        f"an input of {tuple(images.shape)} gives an output of {tuple(output.shape)}",
    )
    return f"{len(tensors)} tensors"


def _plain_tensors(mixer: nn.Module) -> list[tuple[str, Tensor]]:
    """Tensors that are attributes, neither parameters nor buffers: they move nowhere."""
    return [
        (f"{name}.{key}".lstrip("."), value)
        for name, part in mixer.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, Tensor)
    ]


def used_mixer(subject: MixerUnderTest) -> nn.Module:
    """A mixer that has seen a training step, so that whatever it keeps of one is there."""
    mixer = randomise(subject.build())
    run(mixer.train(), subject.images().requires_grad_()).sum().backward()
    mixer.zero_grad()
    return mixer.eval()


def check_state_dict(subject: MixerUnderTest) -> str:
    """Loaded strictly into a mixer of another seed, the state gives the same outputs."""
    mixer = used_mixer(subject)
    state = mixer.state_dict()
    _require_same_after_loading(subject, mixer, state)
    return f"{len(state)} tensors"


def check_safetensors(subject: MixerUnderTest) -> str:
    """The same through a file of safetensors, written as a study writes it: each tensor a copy."""
    mixer = used_mixer(subject)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "mixer.safetensors")
        try:
            state = {key: value.clone().contiguous() for key, value in mixer.state_dict().items()}
            save_file(state, file)
        except (AttributeError, RuntimeError, ValueError) as error:
            words = " ".join(str(error).split())
            raise CheckFailed(f"safetensors does not take the state: {words}") from None
        state = load_file(file)
    _require_same_after_loading(subject, mixer, state)
    return f"{len(state)} tensors"


def _require_same_after_loading(
    subject: MixerUnderTest, mixer: nn.Module, state: dict[str, Tensor]
) -> None:
    other = subject.build(seed=1)
    other.load_state_dict(state, strict=True)
    images = subject.images()
    require_equal(run(other.eval(), images), run(mixer, images), "after loading the state")


def check_deepcopy(subject: MixerUnderTest) -> str:
    """A deep copy gives the same outputs, and shares no memory with its original."""
    mixer = used_mixer(subject)
    images = subject.images()
    expected = run(mixer, images)
    copied = copy.deepcopy(mixer)
    require_equal(run(copied, images), expected, "a deep copy")
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1.0)
    require_equal(run(mixer, images), expected, "the original, after its copy's weights changed")
    return ""


def check_channels_last(subject: MixerUnderTest) -> str:
    """channels_last memory gives the same outputs and input gradients, in double precision."""
    for site in subject.sites[:2]:
        mixer = subject.randomised(site, dtype=torch.float64)
        tolerance = kept_precision(mixer, subject.images(2, site, torch.float64)).rounding
        results = []
        for memory_format in (torch.contiguous_format, torch.channels_last):
            images = subject.images(2, site, torch.float64).to(memory_format=memory_format)
            images.requires_grad_()
            output = run(_convolutions_in(mixer, memory_format), images)
            (gradient,) = torch.autograd.grad(output.square().sum(), images)
            results.append((output, gradient))
        (expected, gradient), (found, gradient_found) = results
        require_equal(found, expected, "channels_last", tolerance=tolerance)
        require_equal(
            gradient_found, gradient, "the input's gradient in channels_last", tolerance=tolerance
        )
    return ""


def _convolutions_in(mixer: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    """The mixer with its convolutions' weights in that format, as studies and measurements do.

    `mixer.to(memory_format=...)` would reorder every parameter of four dimensions, filters of
    Fourier modes among them, and raises for five.
    """
    for module in mixer.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=memory_format)
    return mixer
