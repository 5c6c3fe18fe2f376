"""Where a mixer can stand, and that it keeps the shape of its input there."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from mixers.conformance.records import CheckFailed, NotApplicable, require
from mixers.conformance.sites import SITES, describe
from mixers.conformance.subject import Refusal, Subject, random_images, run
from mixers.contract import Site
from mixers.options import Choice, Domain, FloatRange, IntRange, OptionValue


def check_shapes(subject: Subject) -> str:
    """(B, C, H, W) and its type come out as they went in, at every site and batch size."""
    subject.options  # noqa: B018 -- a refusal names one of them
    refused = []
    for site in SITES:
        mixer = subject.build_or_refusal(site)
        if isinstance(mixer, Refusal):
            refused.append(f"{describe(site)} ({mixer.words})")
            continue
        _require_same_shape(mixer, site, describe(site))
    if len(refused) == len(SITES):
        raise NotApplicable("every site is refused with the default options; see options")
    return f"refused: {'; '.join(refused)}" if refused else f"{len(SITES)} sites"


def _require_same_shape(
    mixer: nn.Module, site: Site, words: str, batches: tuple[int, ...] = (1, 2)
) -> None:
    mixer.eval()
    for batch in batches:
        _require_keeps(mixer, (batch, site.channels, site.height, site.width), words)


def _require_keeps(mixer: nn.Module, shape: tuple[int, int, int, int], words: str) -> None:
    images = random_images(*shape)
    with torch.no_grad():
        output = run(mixer, images)
    require(
        tuple(output.shape) == shape,
        f"{words}: an input of {shape} gives an output of {tuple(output.shape)}",
    )
    require(
        output.dtype == images.dtype,
        f"{words}: an input of {images.dtype} gives an output of {output.dtype}",
    )


def check_options(subject: Subject) -> str:
    """Every legal value builds and runs, or is refused in words, one at a time."""
    options = subject.options
    refusals = [subject.build_or_refusal(site) for site in SITES]
    if all(isinstance(found, Refusal) for found in refusals):
        raise CheckFailed(f"the default options are refused at every site: {refusals[0]}")
    tried, nowhere = 0, []
    for option in options:
        for value in telling_values(option.domain):
            tried += 1
            if not _runs_somewhere(subject, option.name, value):
                nowhere.append(f"{option.name}={value}")
    detail = f"{tried} values"
    return f"{detail}; refused at every site: {', '.join(nowhere)}" if nowhere else detail


def _runs_somewhere(subject: Subject, name: str, value: OptionValue) -> bool:
    """Whether any site takes the value; CheckFailed where it goes wrong at one that does."""
    somewhere = False
    for site in SITES:
        words = f"{name}={value!r} at {describe(site)}"
        try:
            mixer = subject.build_or_refusal(site, {name: value})
            if isinstance(mixer, Refusal):
                continue
            _require_same_shape(mixer, site, words, batches=(2,))
        except CheckFailed:
            raise
        except Exception as error:  # whatever an author's code raises, with where it did
            error.add_note(words)
            raise
        somewhere = True
    return somewhere


def telling_values(domain: Domain) -> list[OptionValue]:
    """All of a choice; the ends and the middle of a range, and what is worth searching."""
    values: list[OptionValue]
    match domain:
        case Choice():
            values = list(domain.values)
        case IntRange(low, high, step):
            values = [low, low + (high - low) // step // 2 * step, high, *(domain.search or ())]
        case FloatRange(low, high, step):
            middle = (low + high) / 2
            if step is not None:
                middle = low + (high - low) // step // 2 * step
            values = [low, middle, high, *(domain.search or ())]
    legal = [domain.normalise(value) for value in values]
    return list({(type(value), value): value for value in legal}.values())  # True is not 1


def check_other_map_sizes(subject: Subject) -> str:
    """A mixer runs on maps of other sizes than it was built for, unless it declares otherwise."""
    if subject.declares("fixed_map_size"):
        raise NotApplicable("declares fixed_map_size")
    site = subject.site
    mixer = subject.build(site).eval()
    sizes = [(2 * site.height, site.width + 1), (max(1, site.height // 2), site.width + 3)]
    for height, width in sizes:
        words = f"built for {site.height}×{site.width}, run on {height}×{width}"
        try:
            _require_keeps(mixer, (2, site.channels, height, width), words)
        except CheckFailed:
            raise
        except Exception as error:  # whatever an author's code raises, with what to declare
            error.add_note(f"{words}; a mixer that cannot declares fixed_map_size = True")
            raise
    return f"built for {site.height}×{site.width}"


def check_dilation(subject: Subject) -> str:
    """Where `supports_dilation` is declared: at dilation 2 and 4 the shape stays."""
    if not subject.declares("supports_dilation"):
        raise NotApplicable("supports_dilation is not declared")
    for site in subject.sites[:2]:
        for dilation in (2, 4):
            dilated = replace(site, dilation=dilation)
            words = f"dilation {dilation} at {describe(site)}"
            mixer = subject.build_or_refusal(dilated)
            require(
                not isinstance(mixer, Refusal), f"{words}: refused, though dilation is declared"
            )
            assert isinstance(mixer, nn.Module)
            _require_same_shape(mixer, dilated, words)
    return "dilation 2 and 4"
