from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from simulated import SimulatedDevice, noisy, remembering
from torch import nn

from search.hardware.cpu import CpuTimes
from search.throughput import Measurement, MeasurementProtocol, Verdict, measure
from search.throughput.engine import FEWEST_DISCARDED, MAX_DISCARDED, MAX_RESTARTS, measure_step
from search.throughput.protocol import Mode
from search.throughput.sensors import CpuSensors, Reading
from search.throughput.stopping import LOOKS, interval

GOLDEN = Path(__file__).parents[2] / "golden"
BATCH = 64


def run(
    device: SimulatedDevice,
    budget: float | None,
    *,
    reference: Callable[[], None] | None = None,
    **settings: object,
) -> Measurement:
    protocol = MeasurementProtocol(batch_size=BATCH, **settings)  # type: ignore[arg-type]
    return measure_step(device, protocol, budget, device, device, {}, reference=reference)


@pytest.mark.parametrize(("seconds", "verdict"), [(0.05, Verdict.PASS), (0.1, Verdict.FAIL)])
def test_far_from_the_budget_the_first_look_decides(seconds: float, verdict: Verdict) -> None:
    device = SimulatedDevice(noisy(seconds, 0.01))
    measured = run(device, budget=900)
    assert measured.verdict is verdict
    assert measured.looks == 1
    assert sum(measured.block_seconds) * measured.steps_per_block < 1
    assert measured.images_per_second == pytest.approx(BATCH / seconds, rel=0.03)


def test_near_the_budget_it_looks_again_and_then_decides() -> None:
    device = SimulatedDevice(noisy(BATCH / 900 * 0.98, 0.02))
    measured = run(device, budget=900)
    assert measured.verdict is Verdict.PASS
    assert measured.looks > 1


def test_on_the_budget_it_says_borderline() -> None:
    measured = run(SimulatedDevice(noisy(BATCH / 900, 0.02)), budget=900)
    assert measured.verdict is Verdict.BORDERLINE
    assert measured.low < 900 < measured.high


def test_a_device_that_drifts_is_measured_anew_until_it_is_steady() -> None:
    device = SimulatedDevice(
        noisy(BATCH / 900 * 1.03, 0.005), slowness=lambda wall: 1.0 - 0.1 * math.exp(-wall / 2)
    )
    measured = run(device, budget=900, reference=device.reference)
    assert measured.restarts >= 1
    assert measured.verdict is Verdict.FAIL
    assert (
        run(SimulatedDevice(noisy(BATCH / 900 * 1.03, 0.005)), budget=900).verdict is Verdict.FAIL
    )


def test_a_drift_that_is_small_beside_the_interval_costs_no_blocks() -> None:
    device = SimulatedDevice(
        noisy(BATCH / 900 * 0.9, 0.1), slowness=lambda wall: 1.0 + 0.02 * (wall > 2.2)
    )
    measured = run(device, budget=900, reference=device.reference)
    assert measured.looks > 1
    assert (measured.restarts, measured.drift) == (0, pytest.approx(0.02, abs=0.005))


def test_a_device_that_never_comes_to_rest_gives_contaminated() -> None:
    device = SimulatedDevice(
        noisy(BATCH / 900, 0.005), slowness=lambda wall: 1.0 + 0.04 * math.sin(wall * 2.5)
    )
    measured = run(device, budget=900, reference=device.reference)
    assert measured.verdict is Verdict.CONTAMINATED
    assert 1 <= measured.restarts <= MAX_RESTARTS
    assert math.isnan(measured.images_per_second)


def test_a_model_that_slows_down_alone_is_no_drift_of_the_device() -> None:
    device = SimulatedDevice(lambda step: 0.05 * (1 + step / 2000))
    assert run(device, budget=900, reference=device.reference).restarts == 0


def test_blocks_of_a_throttled_device_do_not_count() -> None:
    device = SimulatedDevice(
        noisy(0.05, 0.005), throttled=lambda wall: ("hot",) if 1 < wall < 2 else ()
    )
    measured = run(device, budget=900 * 1.4)
    assert set(measured.discarded) == {"the device is throttled: hot"}
    assert measured.verdict is Verdict.PASS


@pytest.mark.parametrize("correlation", [0.5, 0.9])
def test_noise_that_remembers_widens_the_interval_and_misleads_rarely(correlation: float) -> None:
    wrong = sum(
        run(
            SimulatedDevice(remembering(0.02 * 1.01, 0.01, correlation, seed)), budget=BATCH / 0.02
        ).verdict
        is Verdict.PASS
        for seed in range(200)
    )
    assert wrong <= 2


def test_a_wrong_verdict_is_rare_for_a_model_that_misses_by_one_percent() -> None:
    wrong = sum(
        run(SimulatedDevice(noisy(BATCH / 900 * 1.01, 0.02, seed)), budget=900).verdict
        is Verdict.PASS
        for seed in range(400)
    )
    assert wrong <= 4  # alpha is 1 %


def test_blocks_during_which_others_computed_are_discarded() -> None:
    device = SimulatedDevice(
        noisy(0.05, 0.005), foreign=lambda step: 0.5 if step % 3 == 0 and step > 12 else 0.0
    )
    measured = run(device, budget=900)
    assert measured.discarded_blocks > 0
    assert measured.verdict is Verdict.PASS
    assert measured.images_per_second == pytest.approx(BATCH / 0.05, rel=0.03)


@pytest.mark.parametrize("budget", [900, None])
def test_a_device_that_is_never_idle_gives_contaminated_and_no_figure(budget: float | None) -> None:
    device = SimulatedDevice(noisy(0.01, 0.005), foreign=lambda _step: 0.5)
    measured = run(device, budget=budget)
    assert measured.verdict is Verdict.CONTAMINATED
    assert math.isnan(measured.images_per_second)
    assert measured.discarded_blocks == MAX_DISCARDED + 1
    assert measured.to_data()["images_per_second"] is None


def test_slow_steps_are_not_discarded_for_longer_than_the_cap() -> None:
    device = SimulatedDevice(noisy(3.0, 0.005), foreign=lambda _step: 0.5)
    measured = run(device, budget=900)
    assert measured.verdict is Verdict.CONTAMINATED
    assert measured.discarded_blocks == FEWEST_DISCARDED


def test_a_step_of_half_a_minute_is_answered_after_six_of_them() -> None:
    device = SimulatedDevice(noisy(30.0, 0.003))
    measured = run(device, budget=2 * BATCH / 30)
    assert measured.verdict is Verdict.FAIL
    assert len(measured.block_seconds) == LOOKS[0]
    assert device.wall == pytest.approx(6 * 30.0, rel=0.05)


def test_the_measured_work_ends_at_its_cap() -> None:
    device = SimulatedDevice(noisy(30.0, 0.3))
    measured = run(device, budget=BATCH / 30, max_seconds=100)
    assert sum(measured.block_seconds) < 100 + 30 * (LOOKS[1] - LOOKS[0])
    assert measured.verdict is Verdict.BORDERLINE


def test_a_fast_step_is_timed_in_blocks_of_many() -> None:
    measured = run(SimulatedDevice(noisy(1e-4, 0.01)), budget=900)
    assert measured.steps_per_block == pytest.approx(500, rel=0.1)


def test_a_small_cap_leaves_blocks_long_enough_beside_the_reading_of_sensors() -> None:
    measured = run(SimulatedDevice(noisy(1e-3, 0.01)), budget=None, max_seconds=1)
    assert measured.steps_per_block == pytest.approx(50, rel=0.1)


def test_without_a_budget_there_is_a_figure_and_no_verdict() -> None:
    measured = run(SimulatedDevice(noisy(0.05, 0.002)), budget=None)
    assert measured.verdict is None
    assert measured.low < measured.images_per_second < measured.high


def test_the_interval_can_be_recomputed_from_the_record() -> None:
    record = run(SimulatedDevice(noisy(0.07, 0.02)), budget=900).to_data()
    seconds, fastest, slowest = interval(record["block_seconds"], record["alpha"] / len(LOOKS))
    assert record["images_per_second"] == pytest.approx(BATCH / seconds, rel=1e-5)
    assert record["low"] == pytest.approx(BATCH / slowest, rel=1e-5)
    assert record["high"] == pytest.approx(BATCH / fastest, rel=1e-5)


def test_the_records_keys_are_those_of_the_golden_file() -> None:
    record = run(SimulatedDevice(noisy(0.05, 0.002)), budget=900).to_data()
    golden = json.loads((GOLDEN / "measurement.json").read_text())
    assert list(record) == golden["keys"]
    json.dumps(record)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.modes: set[tuple[bool, bool]] = set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.modes.add((self.training, torch.is_grad_enabled()))
        return self.norm(self.conv(x)).mean((2, 3))


def test_train_mode_takes_optimizer_steps_and_infer_mode_changes_nothing() -> None:
    trained, inferred = Small(), Small()
    before = {key: value.clone() for key, value in inferred.state_dict().items()}
    weight = trained.conv.weight.clone()
    result = measure(
        trained, MeasurementProtocol(mode="train", batch_size=4, image_size=8), budget=1
    )
    measure(inferred, MeasurementProtocol(mode="infer", batch_size=4, image_size=8), budget=1)
    assert result.verdict is Verdict.PASS
    assert (True, True) in trained.modes
    assert not torch.equal(trained.conv.weight, weight)
    assert inferred.modes == {(False, False)}
    assert all(torch.equal(before[key], value) for key, value in inferred.state_dict().items())


@pytest.mark.parametrize("mode", ["infer", "latency"])
def test_a_latency_waits_for_each_run(mode: Mode) -> None:
    doings: list[str] = []

    class Telling(CpuSensors):
        def synchronise(self) -> None:
            doings.append("wait")

    model = Small()
    model.register_forward_hook(lambda *_: doings.append("run"))
    protocol = MeasurementProtocol(mode=mode, batch_size=1, image_size=8)
    measured = measure(model, protocol, budget=1e-3, device="cpu", sensors=Telling())
    assert measured.verdict is Verdict.PASS
    assert (("run", "run") in pairwise(doings)) is (mode == "infer")


def test_a_real_measurement_names_device_versions_and_the_format_it_used() -> None:
    record = measure(
        Small(), MeasurementProtocol(mode="infer", batch_size=4, image_size=8), budget=1
    )
    data = record.to_data()
    assert data["memory_format"] == "channels_last"
    assert data["environment"]["device"] == "cpu"
    assert data["environment"]["threads"] == 1
    assert data["environment"]["torch"] == torch.__version__


def test_measuring_leaves_the_random_state_and_the_grad_mode_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    model = Small()
    torch.manual_seed(5)
    measure(model, MeasurementProtocol(mode="train", batch_size=4, image_size=8), budget=1)
    assert torch.equal(torch.rand(1), expected)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("budget", [0, -1, math.nan, math.inf])
def test_a_budget_that_is_no_positive_number_is_refused(budget: float) -> None:
    with pytest.raises(ValueError, match="allowed: images per second above 0"):
        measure(Small(), MeasurementProtocol(), budget=budget)


@pytest.mark.parametrize(
    "settings", [{"batch_size": 0}, {"image_size": 0}, {"alpha": 0.6}, {"max_seconds": 0}]
)
def test_a_protocol_without_sense_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="."):
        MeasurementProtocol(**settings)  # type: ignore[arg-type]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_every_precision_runs_on_cuda_and_tf32_is_put_back(precision: str) -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    protocol = MeasurementProtocol(batch_size=8, image_size=32, precision=precision)  # type: ignore[arg-type]
    record = measure(Small().cuda(), protocol, budget=1)
    assert record.verdict is Verdict.PASS
    assert record.environment["tf32_matmul"] is (precision == "tf32")
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_few_blocks_are_looked_at_only_where_steps_are_slow() -> None:
    assert len(run(SimulatedDevice(noisy(0.01, 0.01)), budget=1.0).block_seconds) == LOOKS[1]
    assert len(run(SimulatedDevice(noisy(0.5, 0.01)), budget=1.0).block_seconds) == LOOKS[0]


def test_the_warm_up_lasts_until_the_steps_are_steady() -> None:
    steady = run(SimulatedDevice(noisy(0.01, 0.001)), budget=1.0)
    slowing = SimulatedDevice(
        noisy(0.01, 0.001), slowness=lambda wall: 1.0 - 0.3 * math.exp(-wall / 0.4)
    )
    assert steady.warm_up_seconds < 0.6
    assert run(slowing, budget=1.0).warm_up_seconds > 1.0
    never = SimulatedDevice(noisy(0.01, 0.001), slowness=lambda wall: 1.0 + wall / 2)
    assert run(never, budget=1.0).warm_up_seconds < 2.2


@dataclasses.dataclass
class Shared(SimulatedDevice):
    """Two threads on two CPUs, of which others have one until `until`, unseen block by block."""

    until: float = 0.0

    def read(self) -> Reading:
        others = min(self.wall, self.until)
        times = CpuTimes(busy=2 * self.wall, stolen=0.0, own=2 * self.wall - others, throttled=0.0)
        return Reading(cpu=times, cpus=2, threads=2)


def test_a_sample_beside_others_is_taken_again() -> None:
    measured = run(Shared(noisy(0.01, 0.005), until=1.5), budget=1.0)
    assert measured.verdict is Verdict.PASS
    assert measured.discarded == {
        "others computed on the CPUs that this process needs": pytest.approx(24, abs=12)
    }
    assert run(Shared(noisy(0.01, 0.005), until=1e9), budget=1.0).verdict is Verdict.CONTAMINATED


@dataclasses.dataclass
class BesideNotebook(SimulatedDevice):
    """A notebook has a context there; that it is idle can be told from 1.5 s on."""

    def read(self) -> Reading:
        if self.wall < 1.5:
            return Reading(foreign=("jupyter (7, perhaps idle)",))
        return Reading(idle=("jupyter (7)",))


def test_who_is_known_to_be_idle_spoils_nothing_and_is_on_record() -> None:
    measured = run(BesideNotebook(noisy(0.01, 0.005)), budget=1.0)
    assert measured.verdict is Verdict.PASS
    (reason,) = measured.discarded
    assert reason == "others compute on the device: jupyter (7, perhaps idle)"
    assert measured.environment["idle_processes"] == ["jupyter (7)"]
    assert "idle_processes" not in run(SimulatedDevice(noisy(0.01, 0.005)), 1.0).environment
