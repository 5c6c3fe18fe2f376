"""Bounds of a step without running it: memory it needs, images/s it cannot exceed.

Both are bounds from the safe side, counted on the meta device: whoever is refused by them could
not have passed.
"""

from __future__ import annotations

import torch
from torch import nn

from metaformer.counting import inference_bytes, training_bytes
from search.devices import device_memory_bytes, gigabytes
from search.profiling.roofline import Rates, Work, most_images_per_second
from search.throughput import MeasurementProtocol


def step_bytes(model: nn.Module, protocol: MeasurementProtocol) -> int:
    """Memory that a step of `model`, on the meta device, needs at the least."""
    count = training_bytes if protocol.mode == "train" else inference_bytes
    return count(
        model,
        protocol.image_size,
        protocol.batch_size,
        in_channels=protocol.in_channels,
        half_precision=protocol.precision in ("bf16", "fp16"),
    )


def memory_problem(needed: int, device: torch.device) -> str | None:
    """Why that many bytes do not fit, in words; None if they may."""
    available = device_memory_bytes(device)
    if needed <= available:
        return None
    return f"needs {gigabytes(needed)} or more, {device} has {gigabytes(available)}"


def speed_problem(
    work: Work, protocol: MeasurementProtocol, budget: float, device: torch.device, rates: Rates
) -> tuple[float, str] | None:
    """Images/s that a step of `work` cannot exceed, and that in words; None if they reach
    `budget`."""
    most = most_images_per_second(work, rates, protocol.batch_size)
    if most >= budget:
        return None
    words = (
        f"{protocol.mode}: at most {most:.3g} of {budget:g} images/s whatever the kernels, not "
        f"measured: {work.macs:.3g} MACs and {work.bytes:.3g} bytes a step, where {device} was "
        f"seen to do {rates.macs_per_second:.3g} and {rates.bytes_per_second:.3g} a second"
    )
    return most, words
