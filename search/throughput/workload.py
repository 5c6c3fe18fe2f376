"""The step that is timed: a model and a protocol as a function without arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search.throughput.protocol import MeasurementProtocol

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
}
_Context = Callable[[], AbstractContextManager[object]]


@contextmanager
def precision_of(protocol: MeasurementProtocol, device: torch.device) -> Iterator[None]:
    """Sets TF32 of a CUDA device, for convolutions and products alike, and puts both back."""
    if device.type != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = protocol.precision == "tf32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


def make_step(
    model: nn.Module, protocol: MeasurementProtocol, device: torch.device
) -> Callable[[], None]:
    """One step of `protocol.mode` on random images; moves `model` to the device and format.

    Weights change in train mode: measure a model of its own, not one that is still needed.
    """
    channels_last = protocol.memory_format != "contiguous"
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    model = in_memory_format(model.to(device=device), memory_format)
    if protocol.compile:
        # Dynamo counts recompilations by code, and all candidates share the backbone's: without
        # this, from the eighth on they would silently be measured eager
        torch._dynamo.reset()
    shape = (protocol.batch_size, protocol.in_channels, protocol.image_size, protocol.image_size)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(shape, generator=generator).to(device, memory_format=memory_format)
    if protocol.mode == "train":
        return _training_step(model, images, protocol)
    return _inference_step(model.eval(), images, protocol)


def in_memory_format(model: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    """The model with the weights of its convolutions in that format.

    `model.to(memory_format=...)` reorders every parameter of four dimensions, so that a filter of
    Fourier modes is no complex number any more, and raises for five.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.to(memory_format=memory_format)
    return model


def waited_for(step: Callable[[], None], synchronise: Callable[[], None]) -> Callable[[], None]:
    """`step`, over only when the device has done it."""

    def run() -> None:
        step()
        synchronise()

    return run


def reference_step(device: torch.device) -> Callable[[], None]:
    """A step that never changes: a convolution and a matrix product of a millisecond or so."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 32, 32, 32, generator=generator).to(device)
    kernel = torch.randn(32, 32, 3, 3, generator=generator).to(device)
    matrix = torch.randn(256, 256, generator=generator).to(device)

    def step() -> None:
        with torch.inference_mode():
            F.conv2d(images, kernel, padding=1)
            matrix @ matrix

    return step


def _inference_step(
    model: nn.Module, images: Tensor, protocol: MeasurementProtocol
) -> Callable[[], None]:
    forward = torch.compile(model) if protocol.compile else model
    autocast = _autocast(protocol, images.device)

    def step() -> None:
        with torch.inference_mode(), autocast():
            forward(images)

    return step


def _training_step(
    model: nn.Module, images: Tensor, protocol: MeasurementProtocol
) -> Callable[[], None]:
    autocast = _autocast(protocol, images.device)
    with torch.inference_mode(), autocast():
        num_classes = model.eval()(images[:1]).shape[1]
    targets = torch.arange(len(images), device=images.device) % num_classes
    model.train()
    forward = torch.compile(model) if protocol.compile else model
    optimizer = _OPTIMIZERS[protocol.optimizer](model.parameters(), lr=1e-6)
    scaler = torch.amp.GradScaler(images.device.type, enabled=protocol.precision == "fp16")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = F.cross_entropy(forward(images), targets)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def _autocast(protocol: MeasurementProtocol, device: torch.device) -> _Context:
    dtype = _AUTOCAST.get(protocol.precision)
    if dtype is None:
        return nullcontext
    return lambda: torch.autocast(device.type, dtype=dtype)
