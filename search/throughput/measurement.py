"""Record of a measurement: the figure, its interval, the verdict and the raw blocks."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from search.throughput.protocol import MeasurementProtocol


class Verdict(StrEnum):
    """The answer to "is it at least the budget?"."""

    PASS = "PASS"
    FAIL = "FAIL"
    BORDERLINE = "BORDERLINE"
    CONTAMINATED = "CONTAMINATED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measurement, complete: the interval can be recomputed from `block_seconds`.

    `images_per_second` is the median over the blocks, `low` and `high` its interval at
    `protocol.alpha`; all three are nan if no valid sample could be had, and `verdict` is then
    CONTAMINATED. `block_seconds` are seconds for one step, averaged over a block of
    `steps_per_block`. `verdict` is None if no budget was asked about and the sample is
    valid. `discarded` counts blocks by why they did not count, `restarts` how often the device
    drifted and the sample began again, `drift` by how much of itself it has shifted within the
    sample, by which the interval is widened. `autocorrelation` is that of neighbouring blocks, on
    the safe side; `host_share` the part of the wall time that the host took to ask for the steps,
    None if the host computes them itself: near 1 the host is the limit.
    """

    protocol: MeasurementProtocol
    budget: float | None
    images_per_second: float
    low: float
    high: float
    verdict: Verdict | None
    block_seconds: tuple[float, ...]
    steps_per_block: int
    looks: int
    discarded: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    drift: float = 0.0
    autocorrelation: float | None = None
    host_share: float | None = None
    warm_up_seconds: float = 0.0
    environment: dict[str, object]

    @property
    def discarded_blocks(self) -> int:
        return sum(self.discarded.values())

    def to_data(self) -> dict[str, Any]:
        """The record as one JSON object."""
        data = asdict(self)
        protocol = data.pop("protocol")
        data["block_seconds"] = list(self.block_seconds)
        data["verdict"] = self.verdict.value if self.verdict is not None else None
        for name in ("images_per_second", "low", "high"):
            data[name] = None if math.isnan(data[name]) else float(f"{data[name]:.7g}")
        for name in ("autocorrelation", "drift", "host_share", "warm_up_seconds"):
            data[name] = None if data[name] is None else round(data[name], 4)
        return {**protocol, **data}
