"""Results of `study_rows.py` from several processes as one: what all of them tell, and tell alike.

    python benchmarks/study_join.py FIRST SECOND --out FILE

Where a process happens to place a model's memory can change its speed by more than two rows differ,
for as long as the process lasts, and no interval from within one process sees that. Intervals are
therefore joined to the widest: an order holds or is reversed only where every process says so.
`contradicted` are those that two processes told in opposite ways.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from study_measuring import rounded
from study_orders import (
    ALPHA,
    HEADLINES,
    Comparison,
    Order,
    Ratio,
    all_comparisons,
    counts,
    order_of,
)
from study_rows import as_json
from study_tables import label, tables

from search.storage.run_folder import write_atomically


def join(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The runs, and each condition over all the processes that measured it."""
    labels = dict.fromkeys(label(condition) for run in runs for condition in run["conditions"])
    of_label = [
        [c for run in runs for c in run["conditions"] if label(c) == wanted] for wanted in labels
    ]
    left_out = dict.fromkeys(words for run in runs for words in run["left_out"])
    return {
        "alpha": ALPHA,
        "conditions": [join_condition(conditions) for conditions in of_label],
        "left_out": [*left_out],
        "runs": [_raw(run) for run in runs],
    }


def join_condition(conditions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One condition as several processes measured it."""
    mode = conditions[0]["mode"]
    seconds = [{row["name"]: row["block_seconds"] for row in c["rows"]} for c in conditions]
    found = [{_pair(c): c for c in all_comparisons(mode, measured)} for measured in seconds]
    pairs = dict.fromkeys(pair for comparisons in found for pair in comparisons)
    joined = {
        pair: join_comparisons([of[pair] for of in found if pair in of], len(conditions))
        for pair in pairs
    }
    orders = {pair: {of[pair].order for of in found if pair in of} for pair in pairs}
    opposite = [pair for pair in pairs if orders[pair] >= {Order.HELD, Order.REVERSED}]
    told = ("mode", "memory_format", "compile", "batch_size", "image_size", "precision", "clock")
    return {
        **{key: conditions[0][key] for key in told},
        "processes": len(conditions),
        "foreign_cpus": [c["foreign_cpus"] for c in conditions],
        "rows": _rows(conditions),
        "orders": counts(joined.values()),
        "contradicted": [f"{first} / {second}" for first, second in opposite],
        "headlines": [rounded(asdict(c)) for c in _headlines(joined)],
        "reversed": [rounded(asdict(c)) for c in joined.values() if c.order is Order.REVERSED],
    }


def join_comparisons(comparisons: Sequence[Comparison], processes: int) -> Comparison:
    """Of the same two rows; nothing is told where a process did not measure both of them."""
    first = comparisons[0]
    ratios = [one.ratio for one in comparisons if one.ratio is not None]
    if not ratios:
        return first
    lows = [ratio.low for ratio in ratios if ratio.low is not None]
    highs = [ratio.high for ratio in ratios if ratio.high is not None]
    complete = len(lows) == processes
    joined = Ratio(
        geometric_mean(ratio.value for ratio in ratios),
        min(lows) if complete else None,
        max(highs) if complete else None,
        sum(ratio.rounds for ratio in ratios),
    )
    return replace(first, ratio=joined, order=order_of(first.published, joined))


def _headlines(joined: dict[tuple[str, str], Comparison]) -> list[Comparison]:
    """Those of the study in the direction in which they are named there."""
    found = []
    for first, second in HEADLINES:
        if (first, second) in joined:
            found.append(joined[first, second])
        elif (second, first) in joined:
            found.append(_turned(joined[second, first]))
    return found


def _turned(one: Comparison) -> Comparison:
    ratio = one.ratio
    if ratio is not None:
        low, high = (None if end is None else 1 / end for end in (ratio.high, ratio.low))
        ratio = Ratio(1 / ratio.value, low, high, ratio.rounds)
    return Comparison(one.second, one.first, 1 / one.published, ratio, one.order)


def _rows(conditions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Images/s: the geometric mean of the processes, the widest of their intervals."""
    names = dict.fromkeys(row["name"] for c in conditions for row in c["rows"])
    rows = []
    for name in names:
        of_name = [row for c in conditions for row in c["rows"] if row["name"] == name]
        speeds = [row["images_per_second"] for row in of_name]
        rows.append(
            {
                "name": name,
                "published": of_name[0]["published"],
                "images_per_second": float(f"{geometric_mean(speeds):.4g}"),
                "low": min(row["low"] for row in of_name),
                "high": max(row["high"] for row in of_name),
                "by_process": speeds,
            }
        )
    return rows


def _pair(comparison: Comparison) -> tuple[str, str]:
    return comparison.first, comparison.second


def _raw(run: dict[str, Any]) -> dict[str, Any]:
    """What one process measured, without what follows from it."""
    follows = ("orders", "headlines", "reversed")
    conditions = [
        {key: value for key, value in condition.items() if key not in follows}
        for condition in run["conditions"]
    ]
    return {**run, "conditions": conditions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    result = join([json.loads(file.read_text()) for file in arguments.files])
    if arguments.out is not None:
        write_atomically(arguments.out, as_json(result))
    print(tables(result))
    for condition in result["conditions"]:
        pairs = len(condition["contradicted"])
        print(f"{label(condition)}: {condition['processes']} processes, {pairs} contradicted")


if __name__ == "__main__":
    main()
