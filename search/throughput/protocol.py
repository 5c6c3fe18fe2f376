"""Protocol of a measurement: everything that must be stated for a throughput to mean something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["train", "infer", "latency"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Optimizer = Literal["adamw", "sgd"]
MemoryFormat = Literal["auto", "contiguous", "channels_last"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementProtocol:
    """The settings of one measurement.

    `mode` train is a whole step: gradients cleared, forward, loss, backward, optimizer; infer
    is the forward pass in eval mode; latency is infer with each run waited for, which is what one
    image at a time has to wait at batch 1. `optimizer` is that of the training step: AdamW, or SGD
    with momentum. `image_size` is in pixels. `memory_format` auto is channels_last. `alpha` is the
    probability of a wrong PASS or FAIL, `margin` the relative half-width below which an interval
    that still holds the budget is answered BORDERLINE. `max_seconds` caps the measured work,
    warm-up apart.
    """

    mode: Mode = "train"
    batch_size: int = 64
    image_size: int = 32
    in_channels: int = 3
    precision: Precision = "fp32"
    memory_format: MemoryFormat = "auto"
    compile: bool = False
    optimizer: Optimizer = "adamw"
    alpha: float = 0.01
    margin: float = 0.01
    max_seconds: float = 20.0

    def __post_init__(self) -> None:
        for name in ("batch_size", "image_size", "in_channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}; allowed: 1 or more")
        if not 0 < self.alpha < 0.5 or not 0 < self.margin < 1:
            raise ValueError("alpha must lie in (0, 0.5) and margin in (0, 1)")
        if not self.max_seconds > 0:
            raise ValueError(f"max_seconds: got {self.max_seconds}; allowed: above 0")
