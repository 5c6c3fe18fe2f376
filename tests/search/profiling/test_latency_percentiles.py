from __future__ import annotations

import pytest
from simulated import SimulatedDevice, noisy
from torch import Tensor, nn

from search.profiling.latency_percentiles import (
    FEWEST_RUNS,
    MAX_WARM_UP_SECONDS,
    Latency,
    measure_latency,
    percentile,
    time_runs,
)
from search.throughput import MeasurementProtocol


def run(device: SimulatedDevice, **settings: float) -> Latency:
    return time_runs(
        device,
        clock=device,
        synchronise=device.synchronise,
        **settings,  # type: ignore[arg-type]
    )


def test_the_tail_stands_beside_the_median() -> None:
    slow_now_and_then = {0: 0.1, 1: 0.03}  # one run in 50, and the one after it
    device = SimulatedDevice(lambda step: slow_now_and_then.get(step % 50, 0.01))
    latency = run(device, max_runs=500)
    assert latency.median_seconds == pytest.approx(0.01)
    assert latency.p90_seconds == pytest.approx(0.01)
    assert latency.p99_seconds == pytest.approx(0.1)
    assert (latency.runs, latency.is_warm) == (500, True)


def test_runs_that_are_still_getting_faster_are_not_counted() -> None:
    device = SimulatedDevice(lambda step: 0.01 + 0.04 * 0.9**step)
    latency = run(device)
    assert latency.is_warm
    assert latency.p99_seconds == pytest.approx(0.01, rel=0.05)


def test_a_warm_up_that_never_settles_ends_and_is_told() -> None:
    device = SimulatedDevice(lambda step: 0.001 * 1.01**step)
    assert not run(device, max_runs=20).is_warm


def test_a_slow_model_is_timed_in_few_runs() -> None:
    device = SimulatedDevice(lambda _step: 2.0)
    latency = run(device, max_seconds=10)
    assert latency.runs == FEWEST_RUNS
    assert not latency.is_warm
    assert device.now() < FEWEST_RUNS * 2 + MAX_WARM_UP_SECONDS + 4


def test_every_run_is_waited_for() -> None:
    class Asynchronous(SimulatedDevice):
        """Work is only queued by a step, and done when it is waited for."""

        queued = 0

        def __call__(self) -> None:
            self.queued += 1

        def synchronise(self) -> None:
            for _ in range(self.queued):
                super().__call__()
            self.queued = 0

    assert run(Asynchronous(noisy(0.01, 0.0))).median_seconds == pytest.approx(0.01)


def test_percentiles_are_runs_that_were_seen() -> None:
    seconds = [float(n) for n in range(1, 101)]
    assert (percentile(seconds, 90), percentile(seconds, 99)) == (90, 99)
    assert percentile(seconds[:20], 99) == 20
    assert percentile([7.0], 50) == 7


class Looks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.seen: set[tuple[tuple[int, ...], bool]] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add((tuple(x.shape), self.training))
        return self.fc(x.mean((2, 3)))


def test_it_is_the_latency_of_one_image_in_infer_mode() -> None:
    model = Looks()
    protocol = MeasurementProtocol(mode="train", batch_size=64, image_size=8)
    latency = measure_latency(model, protocol, max_runs=30)
    assert model.seen == {((1, 3, 8, 8), False)}
    assert latency.runs == 30
    assert 0 < latency.median_seconds <= latency.p90_seconds <= latency.p99_seconds
