from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search.profiling._part_timers import ClockStopwatch, PartHooks
from search.profiling.breakdown import Breakdown, PartTime, breakdown
from search.profiling.roofline import Rates
from search.throughput import MeasurementProtocol
from search.throughput.sensors import SystemClock

RATES = Rates(macs_per_second=1e9, bytes_per_second=1e9)


class SimulatedClock:
    """A clock that the model itself moves."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class _Spend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, clock: SimulatedClock, forward: float, back: float) -> Tensor:
        ctx.clock, ctx.back = clock, back
        clock.time += forward
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        ctx.clock.time += ctx.back
        return gradient, None, None, None


class Takes(nn.Module):
    """Takes so many seconds forward and backward; a weight gives it a gradient."""

    def __init__(self, clock: SimulatedClock, forward: float, backward: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 3, 1, 1))
        self.clock, self.seconds = clock, (forward, backward)

    def forward(self, x: Tensor) -> Tensor:
        return _Spend.apply(x * self.weight, self.clock, *self.seconds)  # type: ignore[no-untyped-call]


class TwoBranches(nn.Module):
    """Both branches take the same input, so that its gradient is complete after both only."""

    def __init__(self, left: nn.Module, right: nn.Module) -> None:
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x: Tensor) -> Tensor:
        return self.left(x) + self.right(x)


class Model(nn.Module):
    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential()
        for name, part in parts.items():
            self.body.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).mean((2, 3))


def run(
    model: nn.Module, clock: SimulatedClock, parts: dict[str, nn.Module], mode: Any = "train"
) -> Breakdown:
    protocol = MeasurementProtocol(mode=mode, batch_size=2, image_size=4)
    return breakdown(model, protocol, parts=parts, clock=clock, rates=RATES, max_seconds=1e9)


def by_name(result: Breakdown) -> dict[str, PartTime]:
    return {part.name: part for part in result.parts}


def test_forward_and_backward_seconds_go_to_the_part_that_took_them() -> None:
    clock = SimulatedClock()
    model = Model(a=Takes(clock, 1, 10), b=Takes(clock, 2, 20), c=Takes(clock, 4, 40))
    result = run(model, clock, {"a": model.body.a, "c": model.body.c})
    parts = by_name(result)
    assert (parts["a"].forward_seconds, parts["a"].backward_seconds) == (1, 10)
    assert (parts["c"].forward_seconds, parts["c"].backward_seconds) == (4, 40)
    assert parts["rest"].seconds == 22
    assert result.step_seconds == result.watched_step_seconds == 77
    assert result.overhead == 0


def test_shares_of_the_outermost_parts_and_the_rest_are_the_whole() -> None:
    clock = SimulatedClock()
    model = Model(a=Takes(clock, 1, 2), b=nn.Sequential(Takes(clock, 1, 1), Takes(clock, 3, 2)))
    inner = {"b": model.body.b, "b.1": model.body.b[1], "a": model.body.a}
    result = run(model, clock, inner)
    assert [(part.name, part.depth) for part in result.parts] == [
        ("b", 0),
        ("b.1", 1),
        ("a", 0),
        ("optimizer", 0),
        ("rest", 0),
    ]
    parts = by_name(result)
    assert parts["b"].seconds == 7
    assert parts["b.1"].seconds == 5
    assert sum(part.share for part in result.parts if part.depth == 0) == pytest.approx(1)
    assert parts["b"].share == pytest.approx(0.7)


def test_branches_with_one_input_are_told_apart() -> None:
    clock = SimulatedClock()
    fork = TwoBranches(Takes(clock, 1, 10), Takes(clock, 2, 20))
    model = Model(first=Takes(clock, 1, 1), fork=fork)
    parts = by_name(run(model, clock, {"left": fork.left, "right": fork.right}))
    assert parts["left"].backward_seconds == 10
    assert parts["right"].backward_seconds == 20


def test_a_part_that_is_called_twice_counts_both_calls() -> None:
    clock = SimulatedClock()
    shared = Takes(clock, 1, 10)
    model = Model(all=TwoBranches(shared, nn.Sequential(shared)))
    part = by_name(run(model, clock, {"shared": shared}))["shared"]
    assert (part.calls, part.forward_seconds, part.backward_seconds) == (2, 2, 20)


def test_a_part_that_is_never_called_takes_no_time() -> None:
    clock = SimulatedClock()
    model = Model(a=Takes(clock, 1, 1))
    model.add_module("unused", Takes(clock, 9, 9))
    part = by_name(run(model, clock, {"unused": model.get_submodule("unused")}))["unused"]
    assert (part.calls, part.seconds) == (0, 0)


def test_what_returns_its_input_takes_no_time_backward() -> None:
    clock = SimulatedClock()
    model = Model(a=Takes(clock, 1, 1), b=nn.Identity(), c=Takes(clock, 1, 1))
    assert by_name(run(model, clock, {"b": model.body.b}))["b"].seconds == 0


def test_in_infer_mode_there_is_neither_backward_pass_nor_optimizer() -> None:
    clock = SimulatedClock()
    model = Model(a=Takes(clock, 3, 5), b=Takes(clock, 1, 1))
    result = run(model, clock, {"a": model.body.a}, mode="infer")
    parts = by_name(result)
    assert set(parts) == {"a", "rest"}
    assert (parts["a"].seconds, parts["a"].backward_seconds) == (3, 0)
    assert parts["a"].share == 0.75


def test_params_macs_and_floors_stand_beside_the_time() -> None:
    clock = SimulatedClock()
    conv = nn.Conv2d(3, 8, 1)
    model = Model(a=Takes(clock, 1, 1), conv=conv, b=Takes(clock, 0, 2))
    model.body.b.weight.data = torch.ones(1, 8, 1, 1)
    parts = by_name(run(model, clock, {"conv": conv}))
    assert (parts["conv"].params, parts["conv"].macs) == (32, 3 * 2 * 16 * 24)
    assert parts["conv"].arithmetic_floor_seconds == pytest.approx(3 * 2 * 16 * 24 / 1e9)
    assert parts["conv"].bandwidth_floor_seconds
    assert parts["conv"].macs_per_second is None  # on this clock it takes no time
    assert parts["optimizer"].bandwidth_floor_seconds
    assert parts["rest"].macs is None


def test_operators_in_place_are_borne_at_either_end_of_a_part() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.SiLU(inplace=True)
    )
    body.append(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1), nn.AvgPool2d(4)))
    body.append(nn.Flatten())
    names = {str(index): part for index, part in enumerate(body)} | {"4.0": body[4][0]}
    images = torch.randn(2, 3, 4, 4)
    body(images).sum().backward()
    expected = [parameter.grad.clone() for parameter in body.parameters()]  # type: ignore[union-attr]

    body.zero_grad()
    with PartHooks(names, ClockStopwatch(SystemClock())).watching() as spans:
        body(images).sum().backward()
    for parameter, gradient in zip(body.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)  # type: ignore[arg-type]
    assert all(span.last is not None for seen in spans.values() for span in seen.backward)
    assert all(len(spans[name].backward) == 1 for name in names)


def test_hooks_are_gone_afterwards_also_when_the_model_raises() -> None:
    clock = SimulatedClock()
    model = Model(a=Takes(clock, 1, 1))
    run(model, clock, {"a": model.body.a})
    with pytest.raises(RuntimeError):
        breakdown(
            model,
            MeasurementProtocol(in_channels=4),
            parts={"a": model.body.a},
            clock=clock,
            rates=RATES,
        )
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())


def test_a_slow_model_is_timed_in_few_steps() -> None:
    clock = SimulatedClock()
    model = Model(a=Takes(clock, 10, 20))
    protocol = MeasurementProtocol(mode="train", batch_size=2, image_size=4)
    result = breakdown(
        model, protocol, parts={"a": model.body.a}, clock=clock, rates=RATES, max_seconds=10
    )
    assert result.steps == 5


def test_what_cannot_be_taken_apart_is_refused() -> None:
    clock = SimulatedClock()
    model = Model(a=Takes(clock, 1, 1))
    with pytest.raises(ValueError, match="compile: got true; allowed: false"):
        breakdown(model, MeasurementProtocol(compile=True), parts={"a": model.body.a})
    with pytest.raises(ValueError, match="parts: stranger: not inside the model"):
        breakdown(model, MeasurementProtocol(), parts={"stranger": nn.Identity()})
    with pytest.raises(ValueError, match="parts: a module has two names"):
        breakdown(model, MeasurementProtocol(), parts={"a": model.body.a, "b": model.body.a})
    with pytest.raises(ValueError, match="parts: got rest; these names"):
        breakdown(model, MeasurementProtocol(), parts={"rest": model.body.a})


@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["infer", "train"])
def test_on_a_gpu_events_give_every_part_its_time(mode: Any) -> None:
    body = nn.Sequential(nn.Conv2d(3, 256, 3), nn.Conv2d(256, 256, 3), nn.Conv2d(256, 8, 3))
    model = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten()).cuda()
    protocol = MeasurementProtocol(mode=mode, batch_size=32, image_size=64)
    names = {"body": body, **{f"body.{index}": part for index, part in enumerate(body)}}
    result = breakdown(model, protocol, parts=names)
    parts = by_name(result)
    assert all(parts[name].seconds > 0 for name in names)
    assert (parts["body.1"].backward_seconds > 0) == (mode == "train")
    assert parts["body.1"].seconds < parts["body"].seconds < 2 * result.watched_step_seconds
