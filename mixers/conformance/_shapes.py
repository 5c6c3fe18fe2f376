"""Checks that a mixer can be built at many sites and keeps the shape of its input there."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import torch
from torch import nn

from mixers._signature import Option
from mixers.conformance._mixer_under_test import (
    MixerUnderTest,
    Options,
    Refusal,
    random_images,
    require_equal,
    run,
)
from mixers.conformance._sites import SITES, describe
from mixers.conformance.records import CheckFailed, NotApplicable, require
from mixers.interface import Site
from mixers.options import Choice, Domain, FloatRange, IntRange, OptionValue


def check_shapes(subject: MixerUnderTest) -> str:
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


def check_options(subject: MixerUnderTest) -> str:
    """Every legal value builds and runs, or is refused in words, one at a time and together.

    Together: a seeded sample of combinations, in which two values of any two options meet as far
    as its size allows.
    """
    options = subject.options
    refusals = [subject.build_or_refusal(site) for site in SITES]
    if all(isinstance(found, Refusal) for found in refusals):
        raise CheckFailed(f"the default options are refused at every site: {refusals[0]}")
    tried, nowhere = 0, []
    for option in options:
        for value in boundary_values(option.domain):
            tried += 1
            if not _runs_somewhere(subject, {option.name: value}, SITES):
                nowhere.append(f"{option.name}={value}")
    sampled = sampled_combinations(options)
    for combination in sampled:
        _runs_somewhere(subject, combination, _FOR_COMBINATIONS)
    detail = f"{tried} values" + (f", {len(sampled)} combinations" if sampled else "")
    return f"{detail}; refused at every site: {', '.join(nowhere)}" if nowhere else detail


def _runs_somewhere(subject: MixerUnderTest, options: Options, sites: Sequence[Site]) -> bool:
    """Return whether any of `sites` takes the options; CheckFailed if something is wrong at one.

    The first that takes them shows training and evaluation, the others the shape.
    """
    somewhere = False
    for site in sites:
        words = ", ".join(f"{name}={value!r}" for name, value in options.items())
        words = f"{words} at {describe(site)}"
        try:
            mixer = subject.build_or_refusal(site, options)
            if isinstance(mixer, Refusal):
                continue
            _require_same_shape(mixer, site, words, batches=(2,))
            if not somewhere:
                _require_training_and_evaluation(mixer, site, words)
        except CheckFailed:
            raise
        except Exception as error:  # whatever an author's code raises, with where it did
            error.add_note(words)
            raise
        somewhere = True
        if sites is _FOR_COMBINATIONS:
            break
    return somewhere


def _require_training_and_evaluation(mixer: nn.Module, site: Site, words: str) -> None:
    """Finite outputs of the input's type and finite gradients in training, the same twice in
    evaluation."""
    images = random_images(2, site.channels, site.height, site.width)
    output = run(mixer.train(), images.requires_grad_())
    require(
        (output.shape, output.dtype) == (images.shape, images.dtype),
        f"{words}: in training an input of {tuple(images.shape)} and {images.dtype} gives an "
        f"output of {tuple(output.shape)} and {output.dtype}",
    )
    require(bool(output.isfinite().all()), f"{words}: the output is not finite")
    if output.requires_grad:
        output.sum().backward()
    for name, tensor in (("the input", images), *mixer.named_parameters()):
        finite = tensor.grad is None or bool(tensor.grad.isfinite().all())
        require(finite, f"{words}: the gradient of {name} is not finite")
    with torch.no_grad():
        first, second = (run(mixer.eval(), images) for _ in range(2))
    require_equal(second, first, f"{words}: two calls in evaluation mode")


_FOR_COMBINATIONS = (SITES[2], SITES[0], SITES[1], SITES[3], SITES[4])  # the cheapest first
_MOST_COMBINATIONS = 32


def sampled_combinations(options: Sequence[Option]) -> list[dict[str, OptionValue]]:
    """Combinations of two or more options, the same at each call.

    Each begins with two values that have not met, and draws the others.
    """
    values = {option.name: boundary_values(option.domain) for option in options}
    generator = random.Random(0)
    pending = [
        ((one, value), (other, second))
        for one, other in combinations(values, 2)
        for value in range(len(values[one]))
        for second in range(len(values[other]))
    ]
    generator.shuffle(pending)
    unmet = dict.fromkeys(pending)
    sampled: list[Mapping[str, int]] = []
    while unmet and len(sampled) < _MOST_COMBINATIONS:
        places = {name: generator.randrange(len(listed)) for name, listed in values.items()}
        places.update(next(iter(unmet)))
        for pair in combinations(places.items(), 2):
            unmet.pop(pair, None)
        sampled.append(places)
    return [{name: values[name][place] for name, place in places.items()} for places in sampled]


def boundary_values(domain: Domain) -> list[OptionValue]:
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


def check_other_map_sizes(subject: MixerUnderTest) -> str:
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


def check_dilation(subject: MixerUnderTest) -> str:
    """Shapes at dilation 2 and 4, if `supports_dilation` is declared."""
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
