"""Check of the declared receptive field against gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from mixers.conformance._declarations import receptive_field_of
from mixers.conformance._mixer_under_test import (
    NO_OPTIONS,
    MixerUnderTest,
    Options,
    Refusal,
    kept_precision,
    random_images,
    run,
)
from mixers.conformance._shapes import boundary_values
from mixers.conformance._sites import LARGE_MAPS, describe
from mixers.conformance.records import NotApplicable, require
from mixers.interface import Site

# of the largest gradient, by the precision kept; windows mask by adding −100, transforms round
_ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}
_COARSE_ROUNDING = 1e-2
_MARGIN = 4  # positions around what is declared that must fit on the map too


def check_receptive_field(subject: MixerUnderTest) -> str:
    """No output depends on more than is declared: by default, by option and with dilation."""
    if receptive_field_of(subject.build()) is None:
        raise NotApplicable("not declared")
    details = []
    for words, site, options in _variants(subject):
        mixer = subject.randomised(site, options, dtype=torch.float64)
        declared, measured = receptive_field_of(mixer), measure(mixer, site)
        if declared is None:
            continue
        found = f"declares {declared[0]}×{declared[1]}, depends on {measured[0]}×{measured[1]}"
        require(
            measured[0] <= declared[0] and measured[1] <= declared[1],
            f"{words} at {describe(site)}: {found}",
        )
        details.append(found)
    return f"{details[0]}; {len(details)} variants" if details else ""


def _variants(subject: MixerUnderTest) -> Iterator[tuple[str, Site, Options]]:
    """The defaults, two other values of each option, and dilation 2 if it is declared."""
    default = _large_site(subject, NO_OPTIONS) or subject.site
    yield "default options", default, NO_OPTIONS
    if subject.declares("supports_dilation"):
        yield "dilation 2", replace(default, dilation=2), NO_OPTIONS
    for option in subject.options:
        others = [value for value in boundary_values(option.domain) if value != option.default]
        for value in others[:1] + others[1:][-1:]:
            site = _large_site(subject, {option.name: value})
            if site is not None:
                yield f"{option.name}={value!r}", site, {option.name: value}


def _large_site(subject: MixerUnderTest, options: Options) -> Site | None:
    """A site on whose map what is declared shows; the last that takes the options, else None."""
    found = None
    for height, width in LARGE_MAPS:
        site = replace(subject.site, height=height, width=width)
        mixer = subject.build_or_refusal(site, options)
        if isinstance(mixer, Refusal):
            continue
        found = site
        declared = receptive_field_of(mixer) or (1, 1)
        if all(
            reach == side or reach + _MARGIN < side
            for reach, side in zip(declared, (height, width), strict=True)
        ):
            break
    return found


def measure(mixer: nn.Module, site: Site) -> tuple[int, int]:
    """Height and width of the box around all inputs that one central output depends on.

    The largest of several positions, since those of a window see different ways.
    """
    images = random_images(1, site.channels, site.height, site.width, torch.float64)
    kept = kept_precision(mixer, images).dtype
    images.requires_grad_()
    output = run(mixer, images)
    weights = torch.randn(site.channels, dtype=torch.float64)
    row, column = site.height // 2, site.width // 2
    boxes = []
    for down, right in ((0, 0), (-2, 3), (3, -4)):
        at = output[0, :, (row + down) % site.height, (column + right) % site.width]
        (gradient,) = torch.autograd.grad((at * weights).sum(), images, retain_graph=True)
        boxes.append(_box(gradient[0], _ROUNDING.get(kept, _COARSE_ROUNDING)))
    return max(height for height, _ in boxes), max(width for _, width in boxes)


def _box(gradient: Tensor, rounding: float) -> tuple[int, int]:
    seen = gradient.abs().amax(0)
    seen = seen > rounding * seen.amax()
    rows, columns = seen.any(1).nonzero(), seen.any(0).nonzero()
    if not len(rows):
        return 0, 0
    return int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1
