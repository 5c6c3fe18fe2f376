"""Types of options that several commands have: devices, durations."""

from __future__ import annotations

import re
from typing import Any

import click


class Device(click.ParamType[str]):
    name = "device"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        from search.devices import device_name_problem

        if problem := device_name_problem(value):
            self.fail(problem)
        return str(value)


measured_device = click.option(
    "--device",
    type=Device(),
    default="auto",
    show_default=True,
    help="Device to measure on: auto, cpu, cuda or cuda:N.",
)


class CudaDevices(click.ParamType[tuple[str, ...]]):
    """Numbers of CUDA devices, and ranges of them: each becomes `cuda:N`."""

    name = "devices"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        numbers: list[int] = []
        for part in str(value).split(","):
            match = re.fullmatch(r"\s*(?:cuda:)?(\d{1,4})(?:-(\d{1,4}))?\s*", part)
            if match is None or int(match[2] or match[1]) < int(match[1]):
                self.fail(f"got {value!r}; allowed: CUDA devices, such as 0-3, 0,2 or cuda:1")
            numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
        if len(set(numbers)) < len(numbers):
            self.fail(f"got {value!r}; allowed: each device once")
        return tuple(f"cuda:{number}" for number in numbers)


class Duration(click.ParamType[float]):
    """Seconds, or a number with s, m or h behind it."""

    name = "duration"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(value).strip())
        if match is None or float(match[1]) == 0:
            self.fail(f"got {value!r}; allowed: seconds above 0, or such as 90s, 15m, 2h")
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
