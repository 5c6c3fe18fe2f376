"""Checks for side effects on global state, the input, and other images of the batch."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import nn

from mixers.conformance._global_state import TORCH_RANDOM, GlobalState, seed_torch
from mixers.conformance._mixer_under_test import MixerUnderTest, kept_precision, require_equal, run
from mixers.conformance.records import require


def check_side_effects(subject: MixerUnderTest) -> str:
    """Neither constructor nor forward changes what the process shares.

    Constructor and training may draw torch's random numbers, and may not seed them.
    """
    site, images = subject.site, subject.images()
    random.random()  # away from where a seed would lead back to
    np.random.random()
    before = GlobalState.take()
    mixer = subject.build(site)
    _require_unchanged(before, "the constructor", may_draw=True)
    for words, step in _steps(mixer):
        before = GlobalState.take()
        output = step(images.clone().requires_grad_())
        _require_unchanged(before, words, may_draw=words != "evaluation")
        if words != "evaluation":
            output.sum().backward()
            _require_unchanged(before, "the backward pass", may_draw=True)
    _require_no_seed(subject)
    return ""


def _steps(mixer: nn.Module) -> list[tuple[str, Callable[[torch.Tensor], torch.Tensor]]]:
    def in_mode(training: bool) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda images: run(mixer.train(training), images)

    return [("training", in_mode(True)), ("evaluation", in_mode(False))]


def _require_unchanged(before: GlobalState, words: str, *, may_draw: bool) -> None:
    allowed = {TORCH_RANDOM} if may_draw else set()
    changed = [part for part in before.changed() if part not in allowed]
    require(not changed, f"{words} changes {', '.join(changed)}")


def _require_no_seed(subject: MixerUnderTest) -> None:
    """CheckFailed unless torch's numbers after training steps follow from those before them."""
    drawn = []
    for seed in (5, 5, 6):
        mixer = subject.build().train()
        seed_torch(seed)
        for _ in range(2):
            run(mixer, subject.images())
        drawn.append(torch.rand(8))
    words = "training seeds torch: what is drawn after it"
    require(not torch.equal(drawn[0], drawn[2]), f"{words} is the same whatever the seed before")
    require(torch.equal(drawn[0], drawn[1]), f"{words} differs after the same seed before")


def check_batch_independence(subject: MixerUnderTest) -> str:
    """In evaluation an image gives the same alone as in a batch, in double precision."""
    for site in subject.sites[:2]:
        mixer = subject.randomised(site, dtype=torch.float64)
        images = subject.images(3, site, torch.float64)
        tolerance = kept_precision(mixer, images).rounding
        with torch.no_grad():
            together = run(mixer, images)
            for index in range(3):
                alone = run(mixer, images[index : index + 1])
                words = f"image {index} of a batch, alone"
                require_equal(alone, together[index : index + 1], words, tolerance=tolerance)
    return ""


_GRADIENT_MODES: tuple[tuple[str, Callable[[], AbstractContextManager[object]]], ...] = (
    ("", nullcontext),
    (" under no_grad", torch.no_grad),
    (" under inference_mode", torch.inference_mode),
)


def check_input_untouched(subject: MixerUnderTest) -> str:
    """Neither mode writes into its input, with gradients, without, and in inference mode."""
    mixer = subject.build()
    for training, words in ((True, "training"), (False, "evaluation")):
        for gradients, mode in _GRADIENT_MODES:
            with mode():
                images = subject.images()
                before = images.clone()
                mixer.train(training)(images)
                require(torch.equal(images, before), f"{words}{gradients} writes into the input")
    return ""
