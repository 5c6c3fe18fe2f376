"""What a mixer leaves alone: the process, its input, the other images of the batch."""

from __future__ import annotations

import random

import numpy as np
import torch

from mixers.conformance.global_state import TORCH_RANDOM, GlobalState
from mixers.conformance.records import require
from mixers.conformance.subject import Subject, require_equal, run


def check_side_effects(subject: Subject) -> str:
    """Neither constructor nor evaluation changes what the process shares.

    The constructor may draw torch's random numbers.
    """
    site, images = subject.site, subject.images()
    random.random()  # away from where a seed would lead back to
    np.random.random()
    before = GlobalState.take()
    mixer = subject.build(site)
    changed = [words for words in before.changed() if words != TORCH_RANDOM]
    require(not changed, f"the constructor changes {', '.join(changed)}")
    mixer.eval()
    before = GlobalState.take()
    run(mixer, images)
    changed = before.changed()
    require(not changed, f"evaluation changes {', '.join(changed)}")
    return ""


def check_batch_independence(subject: Subject) -> str:
    """In evaluation an image gives the same alone as beside others, in double precision."""
    for site in subject.sites[:2]:
        mixer = subject.telling(site, dtype=torch.float64)
        images = subject.images(3, site, torch.float64)
        with torch.no_grad():
            together = run(mixer, images)
            for index in range(3):
                alone = run(mixer, images[index : index + 1])
                words = f"image {index} of a batch, alone"
                require_equal(alone, together[index : index + 1], words, tolerance=1e-10)
    return ""


def check_input_untouched(subject: Subject) -> str:
    """Neither mode writes into its input."""
    mixer = subject.build()
    for training, words in ((True, "training"), (False, "evaluation")):
        images = subject.images()
        before = images.clone()
        mixer.train(training)(images)
        require(torch.equal(images, before), f"{words} writes into the input")
    return ""
