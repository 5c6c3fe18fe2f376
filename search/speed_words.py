"""A measured speed for people: images per second, or how long one image has to wait."""

from __future__ import annotations

from typing import Any

MODES = ("train", "infer", "latency")


def figure(mode: str, images_per_second: float) -> str:
    """The number alone: images/s, of a latency milliseconds."""
    return f"{1000 / images_per_second:.3g}" if mode == "latency" else f"{images_per_second:.0f}"


def unit(mode: str) -> str:
    return "ms" if mode == "latency" else "images/s"


def speed(measured: dict[str, Any]) -> str:
    """`812 images/s` or `4.21 ms`, of a measurement that has a figure."""
    return f"{figure(measured['mode'], measured['images_per_second'])} {unit(measured['mode'])}"


def interval(measured: dict[str, Any]) -> str:
    """`[790, 830]`, in the unit of `speed`, the lower end first."""
    mode, ends = measured["mode"], [measured["low"], measured["high"]]
    low, high = reversed(ends) if mode == "latency" else ends
    return f"[{figure(mode, low)}, {figure(mode, high)}]"
