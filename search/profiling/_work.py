"""The least that one step must compute and move, counted without running it.

A MAC is one multiplication with its addition, in convolutions and matrix products. Counted is a
run on the meta device, which allocates nothing; a model that needs real values runs once if it
lies, on copies of its weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from search.throughput.protocol import MeasurementProtocol

_HALF = ("bf16", "fp16")
_ADAMW_PASSES = 7  # reads weight, gradient and two moments; writes weight and moments


@dataclass(frozen=True, slots=True)
class Work:
    """MACs of a step, and bytes that it must at the least read from and write to memory."""

    macs: int
    bytes: int


def count_work(model: nn.Module, protocol: MeasurementProtocol) -> Work:
    """The work of one step of `protocol`, from below.

    Counted once each: parameters and images read, the output written; in train mode also the
    gradients of the parameters written, what AdamW reads and writes, and each tensor that
    autograd keeps written in the forward pass and read in the backward pass. A compiled step may
    compute kept tensors again instead, so there they do not count. Every real step moves more:
    maps that nobody keeps, gradients of maps, buffers, workspaces and further reads of the same
    tensor are left out, since fusion or a cache can spare them. In half precision a value of a map
    counts two bytes, also if autocast stays in single precision.
    """
    whole = count_parts(model, protocol, {"": model})[""]
    return Work(whole.macs, whole.bytes + optimizer_bytes(model, protocol))


def optimizer_bytes(model: nn.Module, protocol: MeasurementProtocol) -> int:
    """Bytes that AdamW reads and writes in a training step."""
    if protocol.mode != "train":
        return 0
    return _ADAMW_PASSES * sum(p.nbytes for p in model.parameters() if p.requires_grad)


def count_parts(
    model: nn.Module, protocol: MeasurementProtocol, parts: Mapping[str, nn.Module]
) -> dict[str, Work]:
    """The work of each of `parts`, which lie in `model`, in the forward and backward pass.

    As `count_work` counts, for a part by itself: its inputs are read and its outputs written, in
    train mode their gradients too. The optimizer's work is in none of them.
    """
    own = next(model.parameters()).device
    try:
        return _count_on(torch.device("meta"), model, protocol, parts)
    except RuntimeError:  # values are asked for, or an operator has no shapes without them
        if own.type == "meta":
            raise
        return _count_on(own, model, protocol, parts)


def _count_on(
    device: torch.device,
    model: nn.Module,
    protocol: MeasurementProtocol,
    parts: Mapping[str, nn.Module],
) -> dict[str, Work]:
    train = protocol.mode == "train"
    copies = _copies(model, device)
    watch = _Watch(protocol, [*copies.values()])
    counter = FlopCounterMode(display=False, custom_mapping=_CORRECTED)
    shape = (protocol.batch_size, protocol.in_channels, protocol.image_size, protocol.image_size)
    with ExitStack() as stack:
        stack.enter_context(_mode_and_random_state(model, train=train, device=device))
        stack.enter_context(watch.watching(parts))
        stack.enter_context(device if device.type == "meta" else nullcontext())
        stack.enter_context(counter)
        stack.enter_context(torch.set_grad_enabled(train))
        with watch.saving():
            places = {path: copies[tensor] for path, tensor in _places(model)}
            output = functional_call(model, places, torch.randn(shape), tie_weights=False)
        forward = _macs(counter, model, parts)
        if train:
            targets = torch.zeros(len(output), dtype=torch.long)
            F.cross_entropy(output, targets).backward()
    whole = _macs(counter, model, parts)
    return {
        name: Work(
            # the counter takes what returns its input for open during the rest of the backward pass
            macs=whole[name] if forward[name] else 0,
            bytes=_weight_bytes(part, copies) + watch.traffic[name].bytes(),
        )
        for name, part in parts.items()
    }


def _places(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every place of a parameter or buffer, those of a module with two names once."""
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        owned = (*module._parameters.items(), *module._buffers.items())
        yield from ((prefix + name, tensor) for name, tensor in owned if tensor is not None)


def _copies(model: nn.Module, device: torch.device) -> dict[Tensor, Tensor]:
    """A copy for each parameter and buffer, one for what is tied."""
    return {
        tensor: tensor.detach().to(device, copy=True).requires_grad_(tensor.requires_grad)
        for tensor in (*model.parameters(), *model.buffers())
    }


@contextmanager
def _mode_and_random_state(
    model: nn.Module, *, train: bool, device: torch.device
) -> Iterator[None]:
    """The model in that mode; afterwards all is as it was."""
    modes = [(module, module.training) for module in model.modules()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model.train(train)
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def _macs(
    counter: FlopCounterMode, model: nn.Module, parts: Mapping[str, nn.Module]
) -> dict[str, int]:
    """MACs of each part so far; the counter knows modules by their paths."""
    flops = {path: sum(counts.values()) for path, counts in counter.get_flop_counts().items()}
    root = type(model).__name__
    paths = {m: f"{root}.{path}" for path, m in model.named_modules(remove_duplicate=False)}
    paths[model] = "Global"
    return {name: flops.get(paths[part], 0) // 2 for name, part in parts.items()}


def _weight_bytes(part: nn.Module, copies: Mapping[Tensor, Tensor]) -> int:
    """Bytes of the part's parameters, twice if a gradient was written."""
    weights = [copies[parameter] for parameter in part.parameters()]
    return sum(weight.nbytes * (1 if weight.grad is None else 2) for weight in weights)


@dataclass
class _Traffic:
    """Bytes of what a part takes, gives and keeps for its backward pass, by storage."""

    taken: dict[int, int] = field(default_factory=dict)
    given: dict[int, int] = field(default_factory=dict)
    kept: dict[int, int] = field(default_factory=dict)
    with_gradient: set[int] = field(default_factory=set)

    def bytes(self) -> int:
        untouched = self.taken.keys() & self.given.keys()  # handed on, as views are
        read = sum(size for key, size in self.taken.items() if key not in untouched)
        written = {**self.kept, **self.given}
        gradients = self.with_gradient - untouched
        return (
            read
            + sum(size for key, size in written.items() if key not in self.taken)
            + sum(self.kept.values())
            + sum(size for key, size in {**self.taken, **self.given}.items() if key in gradients)
        )


class _Watch:
    """Watches what parts take, give and keep."""

    def __init__(self, protocol: MeasurementProtocol, not_maps: Sequence[Tensor]) -> None:
        self.traffic: dict[str, _Traffic] = {}
        self._half = protocol.precision in _HALF
        self._keeps = not protocol.compile
        self._not_maps = {_key(tensor) for tensor in not_maps}
        self._inside: list[str] = []
        self._alive: list[Tensor] = []  # so that no key is given twice

    @contextmanager
    def watching(self, parts: Mapping[str, nn.Module]) -> Iterator[None]:
        handles = []
        for name, part in parts.items():
            self.traffic[name] = _Traffic()
            handles.append(part.register_forward_pre_hook(self._enter(name), with_kwargs=True))
            handles.append(part.register_forward_hook(self._leave(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def saving(self) -> saved_tensors_hooks:
        return saved_tensors_hooks(self._keep, lambda tensor: tensor)

    def _enter(self, name: str) -> Any:
        def hook(_part: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            self._inside.append(name)
            self._note(self.traffic[name], self.traffic[name].taken, (*args, *kwargs.values()))

        return hook

    def _leave(self, name: str) -> Any:
        def hook(_part: nn.Module, _args: Any, output: Any) -> None:
            self._inside.remove(name)
            self._note(self.traffic[name], self.traffic[name].given, output)

        return hook

    def _note(self, traffic: _Traffic, into: dict[int, int], values: Any) -> None:
        for tensor in tensors_in(values):
            self._add(into, tensor)
            if tensor.requires_grad:
                traffic.with_gradient.add(_key(tensor))

    def _keep(self, tensor: Tensor) -> Tensor:
        if self._keeps and _key(tensor) not in self._not_maps:
            for name in self._inside:
                self._add(self.traffic[name].kept, tensor)
        return tensor

    def _add(self, into: dict[int, int], tensor: Tensor) -> None:
        size = min(tensor.nbytes, tensor.untyped_storage().nbytes())
        if self._half and tensor.dtype == torch.float32:
            size //= 2
        into[_key(tensor)] = max(size, into.get(_key(tensor), 0))
        self._alive.append(tensor.detach())


def tensors_in(values: Any) -> Iterator[Tensor]:
    """The tensors among `values`, inside lists, tuples and maps as well."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        yield from tensors_in(tuple(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors_in(value)


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _convolution_backward_flops(
    gradient: Sequence[int],
    x: Sequence[int],
    weight: Sequence[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: Sequence[bool],
    **_others: Any,
) -> int:
    """As many for the input's gradient as for the forward pass, and for the weight's.

    torch's own formula takes the groups of a convolution for one if it counts the weight's
    gradient: for a depthwise one it gives that as many times as there are channels.
    """
    positions = math.prod((x if transposed else gradient)[2:])
    return 2 * x[0] * positions * math.prod(weight) * sum(output_mask[:2])


_CORRECTED = {torch.ops.aten.convolution_backward: _convolution_backward_flops}
