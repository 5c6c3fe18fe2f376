"""The end of a study on a terminal: the best and its margin, or the nearest miss and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def print_result(summary: dict[str, Any], folder: Path) -> None:
    """Prints summary.json's content for people."""
    console = Console()
    trials = summary["trials"]
    states = ", ".join(f"{count} {state}" for state, count in sorted(trials["by_state"].items()))
    console.print(
        f"{summary['name']}: {trials['counted']} of {trials['total']} trials ({states})",
        highlight=False,
    )
    best, miss = summary["best"], summary["nearest_miss"]
    if best is not None:
        console.print(_table("Best within the budget", best))
        console.print(f"{folder / 'best.yaml'}, {folder / 'best.safetensors'}", highlight=False)
    else:
        budget = ", ".join(f"{key} {value:g}" for key, value in summary["budget"].items())
        console.print(f"No candidate made the budget ({budget}).", highlight=False)
        if miss is not None:
            console.print(_table("Nearest miss", miss))


def _table(title: str, trial: dict[str, Any]) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("trial", str(trial["trial"]))
    for mode, measured in trial["throughput"].items():
        table.add_row(
            f"{mode} throughput",
            f"{measured['images_per_second']:.0f} images/s "
            f"[{measured['low']:.0f}, {measured['high']:.0f}], {measured['verdict']}",
        )
        table.add_row(
            "budget", f"{measured['budget']:g} images/s, margin {measured['margin']:+.1%}"
        )
    for split in ("validation", "test"):
        if trial[f"{split}_accuracy"] is not None:
            table.add_row(f"{split} accuracy", f"{trial[f'{split}_accuracy']:.4f}")
    table.add_row("params, MACs", f"{trial['params']:,}, {trial['macs']:,}")
    for index, stage in enumerate(trial["stages"]):
        table.add_row(f"stage {index}", stage)
    return table
