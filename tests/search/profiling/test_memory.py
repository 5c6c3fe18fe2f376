from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from search.profiling.memory import largest_batch, peak_memory, peak_memory_bytes
from search.throughput import MeasurementProtocol
from search.throughput.workload import make_step

CPU = torch.device("cpu")
MIB = 2**20


def held() -> int:
    """Bytes that tensors of other tests hold still: a step of nothing has no more."""
    return peak_memory_bytes(lambda: None, CPU)


class Wide(nn.Module):
    """A linear layer of 1 MiB that gives maps of 6 MiB, for 512 images of 32 by 32."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2)
        self.fc = nn.Linear(256, 1024, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.fc(self.pool(x).flatten(2)).relu()
        return x.mean(1)


@pytest.mark.parametrize("mode", ["infer", "train"])
def test_a_model_of_known_size_takes_what_it_must(mode: Any) -> None:
    others = held()
    protocol = MeasurementProtocol(mode=mode, batch_size=512, image_size=32)
    step = make_step(Wide(), protocol, CPU)
    peak = peak_memory(step, CPU)
    weights, images, pooled, maps = 1.0, 6.0, 1.5, 6.0
    expected = {
        "infer": weights + images + 2 * maps,  # the product and what relu makes of it
        # weights and two moments; relu's output with the gradients of its output and its input
        "train": 3 * weights + images + pooled + 3 * maps,
    }[mode]
    assert (peak.allocated_bytes - others) / MIB == pytest.approx(expected, rel=0.05)
    assert peak.reserved_bytes is None


def test_twice_the_images_take_twice_the_maps() -> None:
    def peak(batch: int) -> int:
        protocol = MeasurementProtocol(mode="train", batch_size=batch, image_size=32)
        found = peak_memory_bytes(make_step(Wide(), protocol, CPU), CPU)
        gc.collect()
        return found

    others, one, two, three = held(), peak(128), peak(256), peak(384)
    assert three - two == pytest.approx(two - one, rel=0.05)
    assert one - others > 3 * MIB


def test_it_is_the_second_step_that_counts_whatever_came_before() -> None:
    """The first one makes the moments, and gradients from before are not counted twice."""

    def step_of(batch: int) -> Callable[[], None]:
        return make_step(
            Heavy(), MeasurementProtocol(mode="train", batch_size=batch, image_size=8), CPU
        )

    others = held()
    fresh = peak_memory_bytes(step := step_of(2), CPU) - others
    again = peak_memory_bytes(step, CPU) - others
    weights = 192 * 8192 * 4
    # the optimizer's step: weights, gradients, two moments, and the root and the quotient it takes
    assert fresh == pytest.approx(6 * weights, rel=0.02)
    assert again == pytest.approx(fresh, rel=0.01)


class Heavy(nn.Module):
    """Many weights, small maps."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(192, 8192, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.flatten(1))


class SimulatedMemory:
    """Steps fit up to a batch; counts what was tried, and holds what nobody released."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.tried: list[int] = []
        self.living: weakref.WeakSet[Any] = weakref.WeakSet()
        self.most = 0

    def make_step(self, batch: int) -> Callable[[], None]:
        self.tried.append(batch)

        class Step:
            steps = 0

            def __call__(step) -> None:
                step.steps += 1
                if batch > self.capacity and step.steps == 2:  # as with optimizer states
                    raise torch.OutOfMemoryError("CUDA out of memory")

        made = Step()
        self.living.add(made)
        self.most = max(self.most, len(self.living))
        return made


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError)


@pytest.mark.parametrize("capacity", [0, 1, 2, 3, 63, 64, 65, 100, 127, 128, 500, 10_000])
@pytest.mark.parametrize("start", [1, 64, 128])
def test_the_largest_batch_is_found_exactly(capacity: int, start: int) -> None:
    memory = SimulatedMemory(capacity)
    found = largest_batch(
        memory.make_step,
        start=start,
        limit=1000,
        is_out_of_memory=is_out_of_memory,
        release=lambda: None,
    )
    assert found == min(capacity, 1000)
    assert len(memory.tried) == len(set(memory.tried)) <= 21
    assert max(memory.tried) <= 1000
    assert memory.most == 1  # one step's memory at a time


def test_memory_is_released_after_every_try() -> None:
    released: list[int] = []
    memory = SimulatedMemory(5)
    largest_batch(
        memory.make_step,
        start=4,
        limit=64,
        is_out_of_memory=is_out_of_memory,
        release=lambda: released.append(memory.tried[-1]),
    )
    assert released == memory.tried


def test_what_cannot_fit_is_not_tried() -> None:
    memory = SimulatedMemory(100)
    found = largest_batch(
        memory.make_step,
        start=4,
        limit=1000,
        is_out_of_memory=is_out_of_memory,
        may_fit=lambda batch: batch <= 37,
        release=lambda: None,
    )
    assert found == 37
    assert max(memory.tried) == 37


def test_other_errors_pass_through() -> None:
    def make_step(_batch: int) -> Callable[[], None]:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        largest_batch(make_step, start=1, limit=2, is_out_of_memory=is_out_of_memory)


@pytest.mark.parametrize(("start", "limit"), [(0, 4), (5, 4)])
def test_a_start_without_sense_is_refused(start: int, limit: int) -> None:
    with pytest.raises(ValueError, match=f"start: got {start}; allowed: 1 to limit, {limit}"):
        largest_batch(lambda _: lambda: None, start=start, limit=limit, is_out_of_memory=bool)


@pytest.mark.gpu
def test_a_gpus_peak_is_its_allocators() -> None:
    others = torch.cuda.memory_allocated()
    protocol = MeasurementProtocol(mode="infer", batch_size=512, image_size=32)
    peak = peak_memory(make_step(Wide().cuda(), protocol, torch.device("cuda")), "cuda")
    expected = 1 + 6 + 2 * 6
    assert (peak.allocated_bytes - others) / MIB == pytest.approx(expected, rel=0.5)
    assert peak.reserved_bytes is not None
    assert peak.reserved_bytes >= peak.allocated_bytes
