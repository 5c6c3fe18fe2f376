"""Next to the main question: where a step's time goes, its memory, one image's latency, the batch.

Each holds the device for itself while it runs, and builds a model of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import torch

from search.devices import device_memory_bytes, is_out_of_memory
from search.errors import EnvironmentProblem
from search.evaluation._model_parts import backbone_parts, mixer_part_names
from search.evaluation.model_source import ModelSource
from search.evaluation.one_measurement import LEASE_SECONDS
from search.profiling.breakdown import breakdown
from search.profiling.latency_percentiles import measure_latency
from search.profiling.memory import largest_batch, peak_memory_bytes
from search.profiling.roofline import device_rates
from search.throughput import LeaseTimeout, MeasurementProtocol, device_lease
from search.throughput.workload import make_step, precision_of

MOST_BATCH = 65536
_ROOM = 0.8  # of a CPU's memory, beyond which the system would end the process


@contextmanager
def _held(device: torch.device, protocol: MeasurementProtocol) -> Iterator[None]:
    try:
        with device_lease(device, wait_seconds=LEASE_SECONDS), precision_of(protocol, device):
            yield
    except LeaseTimeout as error:
        raise EnvironmentProblem(str(error)) from None


def time_by_part(
    network: ModelSource, protocol: MeasurementProtocol, device: torch.device
) -> dict[str, Any]:
    """The breakdown of an eager step as data, with `mixers`, the names of the parts that are
    mixers. The parts of a compiled step are one.
    """
    model = network.build(protocol.image_size, device)
    with _held(device, protocol):
        rates = device_rates(device, protocol.precision)
        parts = backbone_parts(model)
        found = breakdown(model, protocol, parts=parts, device=device, rates=rates)
    return {**found.to_data(), "mixers": mixer_part_names(model)}


def memory_of_a_step(
    network: ModelSource, protocol: MeasurementProtocol, device: torch.device
) -> int:
    """Bytes that a step has allocated at its peak, weights included."""
    with _held(device, protocol):
        step = make_step(network.build(protocol.image_size, device), protocol, device)
        return peak_memory_bytes(step, device)


def latency_of_an_image(
    network: ModelSource, protocol: MeasurementProtocol, device: torch.device
) -> dict[str, Any]:
    """Seconds of a forward pass at batch 1: median, 90th and 99th percentile."""
    alone = replace(protocol, mode="infer", batch_size=1)
    model = network.build(protocol.image_size, device)
    with _held(device, alone):
        return asdict(measure_latency(model, alone, device=device))


def largest_batch_that_fits(
    network: ModelSource, protocol: MeasurementProtocol, device: torch.device
) -> int:
    """The largest batch whose step fits the memory; a figure of its own, never to be compared
    with throughputs at other batches."""
    model = network.build(protocol.image_size, device)
    with _held(device, protocol):
        one = make_step(model, replace(protocol, batch_size=2), device)
        of_two = peak_memory_bytes(one, device)
        fixed = sum(parameter.nbytes for parameter in model.parameters())
        an_image = max(1, (of_two - fixed) // 2)

        def may_fit(batch: int) -> bool:
            room = _ROOM if device.type == "cpu" else 1.0
            return fixed + batch * an_image <= room * device_memory_bytes(device)

        def step_of(batch: int) -> Callable[[], None]:
            return make_step(model, replace(protocol, batch_size=batch), device)

        return largest_batch(
            step_of,
            start=protocol.batch_size,
            limit=MOST_BATCH,
            is_out_of_memory=is_out_of_memory,
            may_fit=may_fit,
        )
