"""Table of the time of a step by part."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from search.cli.output import echo

SHOWN_MIXERS = 3
OTHER = "norms, activations, shortcuts"
_COLUMNS = ("ms", "%", "params", "MMACs", "GMAC/s", "floor ms", "MACs", "bytes")
_WIDTHS = (9, 6, 12, 10, 8, 10, 8, 8)


def print_breakdown(data: Mapping[str, Any], mixers: Collection[str] = ()) -> None:
    """Prints `Breakdown.to_data()`; `mixers` names those of its parts that are mixers."""
    for line in breakdown_lines(data, mixers):
        echo(line)


def breakdown_lines(data: Mapping[str, Any], mixers: Collection[str] = ()) -> list[str]:
    """The table's lines: parts in the model's order, inner ones indented, then the top mixers."""
    parts = _with_others(data["parts"])
    names = ["  " * part["depth"] + part["name"] for part in parts]
    width = max(len(name) for name in names) + 1
    lines = [_row("part", _COLUMNS, width)]
    lines += [_row(name, _cells(part), width) for name, part in zip(names, parts, strict=True)]
    plain, watched = (data[f"{key}_seconds"] for key in ("step", "watched_step"))
    lines.append(
        f"a step takes {_ms(plain)} ms, {_ms(watched)} ms while it is watched "
        f"({watched / plain - 1:+.1%}); medians of {data['steps']} steps"
    )
    ranked = sorted(
        (part for part in parts if part["name"] in mixers), key=lambda part: -part["seconds"]
    )
    if ranked:
        share = sum(part["share"] for part in ranked)
        lines.append(f"mixers take {share:.1%} of the step; the longest:")
        lines += [
            f"  {part['name']}: {_ms(part['seconds'])} ms, {part['share']:.1%}"
            f", {_times_floor(part)}"
            for part in ranked[:SHOWN_MIXERS]
        ]
    return lines


def _with_others(parts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """A row behind the inner parts of each part for its time in none of them."""
    rows: list[Mapping[str, Any]] = []
    open_parts: list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]] = []

    def close(depth: int) -> None:
        while open_parts and open_parts[-1][0]["depth"] >= depth:
            part, inner = open_parts.pop()
            if inner:
                rows.append(_other(part, inner))

    for part in parts:
        close(part["depth"])
        if open_parts:
            open_parts[-1][1].append(part)
        open_parts.append((part, []))
        rows.append(part)
    close(0)
    return rows


def _other(part: Mapping[str, Any], inner: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    def left(key: str) -> Any:
        return max(0, part[key] - sum(one[key] for one in inner))

    return {
        "name": OTHER,
        "depth": part["depth"] + 1,
        **{key: left(key) for key in ("seconds", "share", "params")},
        "macs": None,
        "macs_per_second": None,
        "arithmetic_floor_seconds": None,
        "bandwidth_floor_seconds": None,
    }


def _cells(part: Mapping[str, Any]) -> list[str]:
    floors = [part["arithmetic_floor_seconds"], part["bandwidth_floor_seconds"]]
    floor = None if None in floors else max(floors)
    return [
        _ms(part["seconds"]),
        f"{100 * part['share']:.1f}",
        "" if part["params"] is None else f"{part['params']:,}",
        "" if part["macs"] is None else f"{part['macs'] / 1e6:,.1f}",
        "" if part["macs_per_second"] is None else f"{part['macs_per_second'] / 1e9:,.1f}",
        *("" if seconds is None else _ms(seconds) for seconds in (floor, *floors)),
    ]


def _row(name: str, cells: Sequence[str], width: int) -> str:
    padded = (f"{cell:>{size}}" for cell, size in zip(cells, _WIDTHS, strict=True))
    return f"{name:{width}}{''.join(padded)}".rstrip()


def _times_floor(part: Mapping[str, Any]) -> str:
    floor = max(part["arithmetic_floor_seconds"], part["bandwidth_floor_seconds"])
    return f"{part['seconds'] / floor:,.0f} times its floor" if floor else "no floor"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:,.{2 if seconds < 1 else 0}f}"
