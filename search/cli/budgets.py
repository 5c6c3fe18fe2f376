"""`--budget-throughput [MODE:]N`, as often as there are modes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import click

STEPS = ("train", "infer")


class ThroughputBudget(click.ParamType[tuple[str | None, float]]):
    """Images per second, with the step that must reach them in front if it is said."""

    name = "budget"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str | None, float]:
        if isinstance(value, tuple):
            return value
        mode, colon, number = str(value).rpartition(":")
        try:
            images_per_second = float(number)
        except ValueError:
            images_per_second = math.nan
        legal = math.isfinite(images_per_second) and images_per_second > 0
        if not legal or (colon and mode not in STEPS):
            self.fail(
                f"got {value!r}; allowed: images/s above 0, with train: or infer: before it, "
                "such as 900 or infer:2900"
            )
        return mode or None, images_per_second


def budgets_by_mode(
    given: Sequence[tuple[str | None, float]], mode: str | None
) -> dict[str, float]:
    """The budgets by mode; those that say none are of `mode`, train by default."""
    budgets: dict[str, float] = {}
    for said, images_per_second in given:
        of = said or mode or "train"
        if of in budgets:
            raise click.UsageError(
                f"--budget-throughput: {of} is given twice; allowed: once a mode"
            )
        budgets[of] = images_per_second
    return budgets
