"""Check of buffers that no state dict holds: they can be computed again."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mixers.conformance._mixer_under_test import (
    NO_OPTIONS,
    MixerUnderTest,
    Options,
    Refusal,
    randomise,
    require_equal,
    run,
    stated,
)
from mixers.conformance._shapes import boundary_values
from mixers.conformance._sites import describe
from mixers.conformance.records import CheckFailed, NotApplicable
from mixers.interface import Site

_HOW = (
    "a state dict does not hold it, and models that are built on the meta device, as "
    "from_pretrained of transformers does, lose it; write init_non_persistent_buffers(self), which "
    "fills it in place, or register it without persistent=False"
)


def check_non_persistent_buffers(subject: MixerUnderTest) -> str:
    """Built on the meta device, loaded and rebuilt, the mixer has its buffers and outputs again."""
    checked: set[str] = set()
    for site, options in _variants(subject):
        mixer = subject.build_or_refusal(site, options)
        if isinstance(mixer, Refusal):
            continue
        buffers = non_persistent_buffers(mixer)
        if not buffers:
            continue
        words = f"{stated(options)} at {describe(site)}"
        again = _rebuilt(subject, site, options, randomise(mixer))
        found = non_persistent_buffers(again)
        for name, expected in buffers.items():
            if name not in found or found[name].dtype != expected.dtype:
                raise CheckFailed(f"{words}: {name} is not computed again: {_HOW}")
            if found[name].shape != expected.shape or not torch.equal(found[name], expected):
                raise CheckFailed(f"{words}: {name} has other values when rebuilt: {_HOW}")
        images = subject.images(2, site)
        expected_output = run(mixer.eval(), images)
        require_equal(run(again.eval(), images), expected_output, f"{words}, rebuilt")
        checked.update(buffers)
    if not checked:
        raise NotApplicable("no buffers outside the state dict")
    return ", ".join(sorted(checked))


def _variants(subject: MixerUnderTest) -> Iterator[tuple[Site, Options]]:
    """The default options at two sites, and every other value at the first."""
    for site in subject.sites[:2]:
        yield site, NO_OPTIONS
    for option in subject.options:
        for value in boundary_values(option.domain):
            if value != option.default:
                yield subject.site, {option.name: value}


def non_persistent_buffers(mixer: nn.Module) -> dict[str, Tensor]:
    """The buffers that the state dict does not hold, by name."""
    return {
        f"{prefix}.{name}".lstrip("."): buffer
        for prefix, module in mixer.named_modules()
        for name, buffer in module.named_buffers(recurse=False)
        if name in module._non_persistent_buffers_set
    }


def _rebuilt(subject: MixerUnderTest, site: Site, options: Options, mixer: nn.Module) -> nn.Module:
    """The mixer as it comes from the meta device and a state dict, by timm's convention."""
    try:
        with torch.device("meta"):
            again = subject.build(site, options)
    except Exception:  # noqa: BLE001 -- an author's; the check `meta_device` reports it
        raise NotApplicable("cannot be built on the meta device; see meta_device") from None
    again.to_empty(device=torch.get_default_device())
    for buffer in non_persistent_buffers(again).values():
        buffer.fill_(float("nan") if buffer.is_floating_point() else 1)
    again.load_state_dict(mixer.state_dict(), strict=True)
    with torch.no_grad():
        for module in again.modules():
            rebuild = getattr(module, "init_non_persistent_buffers", None)
            if rebuild is not None:
                rebuild()
    return again
