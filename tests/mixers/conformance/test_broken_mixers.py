"""Every check is seen red: by a mixer that breaks it, and nothing else."""

from __future__ import annotations

import random
import re

import pytest
from broken import NAMES, broken

from mixers.conformance import CHECK_NAMES, Status, check_mixer

# other checks that the same fault trips by itself
INEVITABLE = {
    "gradients_bf16": {"half_precision"},  # it raises under autocast
    "gradients_fp32": {"gradients_bf16"},  # an unused parameter has no gradient in any precision
    # what is not in the state is not in its file, and random numbers are not to be had again
    "state_dict": {"safetensors", "non_persistent_buffers"},
}
WORDS = {
    "allows": "groups=8 at 20 channels on a map of 5×11: allows gives no reason, and the construc",
    "batch_independence": "image 0 of a batch, alone: values differ by",
    "channels_last": "channels_last: values differ by",
    "compile": "Unsupported",
    "declarations": "needs_normalised_input: got 'yes'; allowed: True or False, on the class",
    "deepcopy": "the original, after its copy's weights changed",
    "determinism": "scale of two mixers after the same seed: values differ",
    "dilation": "dilation 2 at 64 channels on a map of 14×14: an input of",
    "export": "Constraints violated",
    "fx": "TraceError: .*broken/fx.py:18 in forward: if x.shape",
    "gradients_bf16": "RuntimeError: expected dtype .*broken/gradients_bf16.py:",
    "gradients_fp32": "forgotten gets no gradient",
    "input_untouched": "training writes into the input",
    "gradient_values": "evaluation: along a random direction of the input the loss changes by",
    "half_precision": "autocast to bfloat16: outputs are wrong by",
    "macs": "0 MACs are counted, and 802816 elementwise multiplications are not",
    "meta_device": "table is on cpu and not on the meta device",
    "non_persistent_buffers": "default options at .*: scale has other values when rebuilt: a state",
    "options": "kernel_size=4 at 64 channels on a map of 14×14: an input of",
    "other_map_sizes": "built for 14×14, run on 28×15; a mixer that cannot declares fixed_map_size",
    "receptive_field": "default options at .*: declares 3×3, depends on 5×5",
    "resources": "1 tensors of each call in training stay in memory",
    "safetensors": "safetensors does not take the state: 'dict' object has no attribute 'clone'",
    "serialisation": "local object 'Broken.__init__.<locals>.<lambda>'",
    "shapes": r"20 channels on a map of 5×11: an input of \(1, 20, 5, 11\) gives an output of",
    "side_effects": "the constructor changes python's random state",
    "signature": "kernel_size: .* must be keyword-only",
    "state_dict": "after loading the state: values differ",
    "torchscript": "getattr's second argument must be a string literal",
    "train_and_eval": "evaluation changes the buffer calls",
}


def test_every_check_has_a_mixer_that_breaks_it() -> None:
    assert sorted(CHECK_NAMES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_broken_mixer_trips_its_check_and_no_other_and_says_why(name: str) -> None:
    records = check_mixer(broken(name))
    answered = (Status.FAILED, Status.WARNING)
    failed = {r.check: r.detail for r in records if r.status in answered}
    assert set(failed) == {name} | INEVITABLE.get(name, set())
    assert re.search(WORDS[name], failed[name]), failed[name]
    assert "\n" not in failed[name]


def test_a_seed_in_the_constructor_shows_even_where_it_changes_nothing_any_more() -> None:
    random.seed(0)
    (record,) = check_mixer(broken("side_effects"), only=["side_effects"])
    assert record.status is Status.FAILED
