"""Marks in time around the forward and backward passes of parts of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from search.profiling._work import tensors_in
from search.throughput.sensors import Clock

OPTIMIZER = "optimizer"


class PartClock(Protocol):
    def mark(self) -> Any:
        """This moment; costs next to nothing and waits for nothing."""
        ...

    def seconds(self, start: Any, end: Any) -> float:
        """Seconds between two marks of a step that has ended."""
        ...


class ClockStopwatch:
    """Marks of a clock, for devices that are done with an operator when it returns."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def mark(self) -> float:
        return self._clock.now()

    def seconds(self, start: float, end: float) -> float:
        return end - start


class EventStopwatch:
    """Events in the stream of a CUDA device, which tells when it came to them."""

    def mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        return start.elapsed_time(end) / 1000


@dataclass
class Span:
    """From one mark to another; of several starts the first holds, of several ends the last.

    `late_end` stands in for an end that was not seen.
    """

    start: Any = None
    end: Any = None
    late_end: Any = None

    @property
    def last(self) -> Any:
        return self.late_end if self.end is None else self.end


@dataclass
class Spans:
    """Times of a part in one step."""

    forward: list[Span] = field(default_factory=list)
    backward: list[Span] = field(default_factory=list)


class PartHooks:
    """Hooks on parts while a step runs: `with hooks.watching() as spans: step()`.

    Backward passes are marked by hooks on tensors, not by full backward hooks, which models with
    operators in place do not bear. For that a part gets views of its inputs, so that what others
    do to the gradients of the same inputs is not taken for the part's.
    """

    def __init__(self, parts: Mapping[str, nn.Module], stopwatch: PartClock) -> None:
        self._parts = parts
        self._mark = stopwatch.mark
        self._handles: list[Any] = []

    @contextmanager
    def watching(self) -> Iterator[dict[str, Spans]]:
        spans = {name: Spans() for name in self._parts}
        for name, part in self._parts.items():
            self._watch_part(part, spans[name])
        spans[OPTIMIZER] = Spans()
        self._watch_optimizer(spans[OPTIMIZER])
        try:
            yield spans
        finally:
            for handle in self._handles:
                handle.remove()
            self._handles.clear()

    def _watch_optimizer(self, spans: Spans) -> None:
        def before(*_: Any) -> None:
            spans.forward.append(Span(self._mark()))

        def after(*_: Any) -> None:
            spans.forward[-1].end = self._mark()

        self._handles += [
            register_optimizer_step_pre_hook(before),
            register_optimizer_step_post_hook(after),
        ]

    def _watch_part(self, part: nn.Module, spans: Spans) -> None:
        open_calls: list[tuple[Span, Span]] = []

        def before(_part: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            backward, views = Span(), list[Tensor]()

            def view(value: Any) -> Any:
                if not isinstance(value, Tensor) or not value.requires_grad:
                    return value
                # an operator in place takes the hook on a view away, but not that on its base
                base = value if value._base is None else value._base
                base.register_hook(self._late_ender(backward))
                views.append(value.view_as(value))
                views[-1].register_hook(self._ender(backward))
                return views[-1]

            if torch.is_grad_enabled():
                args = tuple(view(value) for value in args)
                kwargs = {key: view(value) for key, value in kwargs.items()}
                if not views:
                    self._end_with_weights(part, backward)
            open_calls.append((Span(self._mark()), backward))
            return args, kwargs

        def after(_part: nn.Module, _args: Any, output: Any) -> None:
            forward, backward = open_calls.pop()
            forward.end = self._mark()
            spans.forward.append(forward)
            for tensor in tensors_in(output):
                if tensor.requires_grad:
                    tensor.register_hook(self._starter(backward))
                    spans.backward.append(backward)

        self._handles.append(part.register_forward_pre_hook(before, with_kwargs=True))
        self._handles.append(part.register_forward_hook(after))

    def _end_with_weights(self, part: nn.Module, span: Span) -> None:
        """End the pass with the part's last weight, if no input has a gradient."""
        for weight in part.parameters():
            if weight.requires_grad:
                handle = weight.register_post_accumulate_grad_hook(self._ender(span))
                self._handles.append(handle)

    def _starter(self, span: Span) -> Callable[[Tensor], None]:
        def hook(_gradient: Tensor) -> None:
            if span.start is None:
                span.start = self._mark()

        return hook

    def _ender(self, span: Span) -> Callable[[Tensor], None]:
        def hook(_gradient: Tensor) -> None:
            span.end = self._mark()

        return hook

    def _late_ender(self, span: Span) -> Callable[[Tensor], None]:
        def hook(_gradient: Tensor) -> None:
            span.late_end = self._mark()

        return hook


def total(spans: list[Span], stopwatch: PartClock) -> float:
    """Seconds within any of the spans; those without start or end took no part in the step.

    A backward pass that ends before it starts is that of a part that returns its input.
    """
    complete = [span for span in spans if span.start is not None and span.last is not None]
    if not complete:
        return 0.0
    origin = complete[0].start
    intervals = sorted(
        (stopwatch.seconds(origin, span.start), stopwatch.seconds(origin, span.last))
        for span in complete
    )
    seconds, reached = 0.0, intervals[0][0]
    for start, end in intervals:
        seconds += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return seconds
