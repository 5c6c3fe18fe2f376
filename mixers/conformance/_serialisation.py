"""The round trip that processes make when they hand a mixer to each other.

What is loaded here was dumped by this process a moment before; nothing is read from outside.
"""

from __future__ import annotations

import pickle

from torch.nn.utils.parametrize import is_parametrized

from mixers.conformance._mixer_under_test import MixerUnderTest, require_equal, run
from mixers.conformance._portability import used_mixer
from mixers.conformance.records import NotApplicable, require


def check_serialisation(subject: MixerUnderTest) -> str:
    """Through Python's object serialisation, as multiprocessing uses it, outputs are the same."""
    mixer = used_mixer(subject)
    if any(is_parametrized(module) for module in mixer.modules()):
        raise NotApplicable("torch hands parametrised modules on by their state_dict only")
    images = subject.images()
    dumped = pickle.dumps(mixer)
    loaded = pickle.loads(dumped)
    require(type(loaded) is type(mixer), f"comes back as {type(loaded).__qualname__}")
    require_equal(run(loaded, images), run(mixer, images), "after the round trip")
    return f"{len(dumped)} bytes"
