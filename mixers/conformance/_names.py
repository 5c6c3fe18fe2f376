"""The names of the checks, in the order in which they run; known without torch."""

from __future__ import annotations

from collections.abc import Collection

from mixers.errors import nearest

CHECK_NAMES = (
    "signature",
    "declarations",
    "shapes",
    "options",
    "allows",
    "other_map_sizes",
    "dilation",
    "gradients_fp32",
    "gradients_bf16",
    "gradient_values",
    "half_precision",
    "determinism",
    "train_and_eval",
    "side_effects",
    "batch_independence",
    "input_untouched",
    "resources",
    "meta_device",
    "non_persistent_buffers",
    "state_dict",
    "safetensors",
    "deepcopy",
    "serialisation",
    "channels_last",
    "macs",
    "receptive_field",
    "torchscript",
    "fx",
    "compile",
    "export",
)
ON_ANY_DEVICE = ("signature", "declarations")  # of a mixer that requires a device
IMPORT = "import"  # what a child process does before the first check


def names_of(only: Collection[str] | None) -> list[str]:
    """The checks named by `only`, all if it is None; ValueError for a name of none."""
    for name in only or ():
        if name not in CHECK_NAMES:
            allowed = f"allowed: {', '.join(CHECK_NAMES)}{nearest(name, CHECK_NAMES)}"
            raise ValueError(f"only: {name}: no such check; {allowed}")
    return [name for name in CHECK_NAMES if only is None or name in only]
