"""Format throughput and latency for display."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MODES = ("train", "infer", "latency")


def figure(mode: str, images_per_second: float) -> str:
    """The number alone: images/s, of a latency milliseconds."""
    return f"{1000 / images_per_second:.3g}" if mode == "latency" else f"{images_per_second:.0f}"


def unit(mode: str) -> str:
    return "ms" if mode == "latency" else "images/s"


def limit_words(name: str, limit: float) -> str:
    """A limit of a budget with its unit: `train 900 images/s`, `memory 2 GiB`, `params 200,000`."""
    units = {"memory": "GiB", "params": "", "macs": ""}
    number = f"{limit:,.12g}" if name in ("params", "macs") else f"{limit:.12g}"
    return f"{name} {number} {units.get(name, unit(name))}".rstrip()


def budget_words(budget: Mapping[str, float]) -> str:
    """All limits of a budget with their units; `none` if there are none."""
    return ", ".join(limit_words(name, limit) for name, limit in budget.items()) or "none"


def speed(measured: dict[str, Any]) -> str:
    """`812 images/s` or `4.21 ms`, of a measurement that has a figure."""
    return f"{figure(measured['mode'], measured['images_per_second'])} {unit(measured['mode'])}"


def interval(measured: dict[str, Any]) -> str:
    """`[790, 830]`, in the unit of `speed`, the lower end first."""
    mode, ends = measured["mode"], [measured["low"], measured["high"]]
    low, high = reversed(ends) if mode == "latency" else ends
    return f"[{figure(mode, low)}, {figure(mode, high)}]"
