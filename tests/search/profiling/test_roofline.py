from __future__ import annotations

import math
import time
from typing import Any

import pytest
import timm
import torch

from search.profiling.roofline import (
    Rates,
    Work,
    arithmetic_floor,
    bandwidth_floor,
    count_work,
    device_rates,
    floor_seconds,
    most_images_per_second,
)
from search.throughput import MeasurementProtocol
from search.throughput.workload import make_step

CPU = torch.device("cpu")


def test_the_floor_is_the_longer_of_arithmetic_and_memory() -> None:
    rates = Rates(macs_per_second=100.0, bytes_per_second=10.0)
    work = Work(macs=200, bytes=30)
    assert (arithmetic_floor(work, rates), bandwidth_floor(work, rates)) == (2.0, 3.0)
    assert floor_seconds(work, rates) == 3.0
    assert floor_seconds(Work(macs=400, bytes=30), rates) == 4.0


def test_what_a_cache_can_hold_is_neither_written_nor_read_at_memorys_rate() -> None:
    rates = Rates(macs_per_second=1.0, bytes_per_second=10.0, cache_bytes=20)
    assert bandwidth_floor(Work(macs=0, bytes=100), rates) == 6.0
    assert bandwidth_floor(Work(macs=0, bytes=40), rates) == 0.0


def test_no_kernel_exceeds_the_floor_were_the_device_half_as_fast_again() -> None:
    rates = Rates(macs_per_second=100.0, bytes_per_second=10.0)
    assert most_images_per_second(Work(macs=200, bytes=0), rates, batch_size=8) == 1.5 * 8 / 2
    assert most_images_per_second(Work(macs=0, bytes=0), rates, batch_size=8) == math.inf


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rates_are_measured_once_a_process(precision: Any) -> None:
    rates = device_rates(CPU, precision)
    assert rates is device_rates("cpu", precision)
    assert rates.macs_per_second > 1e8
    assert rates.bytes_per_second > 1e8


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("name", ["convnext_atto", "resnet18", "vit_tiny_patch16_224"])
def test_real_models_take_longer_than_their_floor(name: str, mode: Any) -> None:
    """They take four times as long and more here, so that this says nothing of the clock."""
    size = {"img_size": 64} if name.startswith("vit") else {}
    model = timm.create_model(name, **size)
    protocol = MeasurementProtocol(mode=mode, batch_size=8, image_size=64)
    floor = floor_seconds(count_work(model, protocol), device_rates(CPU))
    step = make_step(model, protocol, CPU)
    step()
    fastest = min(_seconds(step) for _ in range(3))
    assert 0 < floor < 1.5 * fastest


def _seconds(step: Any) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_a_gpu_has_rates_for_every_precision(precision: Any) -> None:
    rates = device_rates("cuda", precision)
    assert rates.macs_per_second > 1e11
    assert rates.bytes_per_second > 1e10
    assert rates.cache_bytes > 0
