"""The study's rows and orders as Markdown tables, from the data of `study_rows.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def tables(result: dict[str, Any]) -> str:
    """Images/s, what became of all orders, and the headline orders; what was left out."""
    conditions = result["conditions"]
    parts = [_speeds(conditions), _orders(conditions), _headlines(conditions)]
    left_out = [f"left out: {words}" for words in result.get("left_out", [])]
    return "\n\n".join([*(part for part in parts if part), *left_out])


def label(condition: dict[str, Any]) -> str:
    execution = "compiled" if condition["compile"] else "eager"
    return f"{condition['mode']}, {condition['memory_format']}, {execution}"


def _speeds(conditions: Sequence[dict[str, Any]]) -> str:
    """Images/s with the interval; the published figures of the modes measured next to them."""
    if not conditions:
        return "nothing was measured"
    modes = [mode for mode in ("train", "infer") if any(c["mode"] == mode for c in conditions)]
    figures = {(label(c), row["name"]): row for c in conditions for row in c["rows"]}
    published = {(c["mode"], r["name"]): r["published"] for c in conditions for r in c["rows"]}
    names = dict.fromkeys(name for _, name in figures)
    heads = [*(f"published, {mode}" for mode in modes), *map(label, conditions)]
    rows = []
    for name in names:
        said = [_number(published.get((mode, name))) for mode in modes]
        rows.append([name, *said, *(_speed(figures.get((label(c), name))) for c in conditions)])
    return _table(["images/s", *heads], rows)


def _orders(conditions: Sequence[dict[str, Any]]) -> str:
    if not conditions:
        return ""
    kinds = list(conditions[0]["orders"])
    rows = [[label(c), *(str(c["orders"][kind]) for kind in kinds)] for c in conditions]
    return _table(["orders of two rows", *kinds], rows)


def _headlines(conditions: Sequence[dict[str, Any]]) -> str:
    found = {
        (label(c), h["first"], h["second"]): _headline(h)
        for c in conditions
        for h in c["headlines"]
    }
    pairs = dict.fromkeys((first, second) for _, first, second in found)
    rows = [
        [f"{first} / {second}", *(found.get((label(c), first, second), "–") for c in conditions)]
        for first, second in pairs
    ]
    return _table(["times as fast", *map(label, conditions)], rows) if rows else ""


def _headline(headline: dict[str, Any]) -> str:
    ratio = headline["ratio"]
    said = f"{headline['order']} ({headline['published']:.2f})"
    if ratio is None:
        return said
    if ratio["low"] is None:
        return f"{ratio['value']:.2f} {said}"
    return f"{ratio['value']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] {said}"


def _speed(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    figures = (_number(row[key]) for key in ("images_per_second", "low", "high"))
    return "{} [{}, {}]".format(*figures)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
