"""`search zoo`: the known backbones, what they cost and what was published of them."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from search.cli.errors import user_errors
from search.cli.output import echo

if TYPE_CHECKING:
    from metaformer.zoo_table import ZooEntry

_COLUMNS = ("name", "family", "params", "MACs", "top-1", "train", "infer", "timm's weights")
_INTRODUCTION = """\
# The zoo

Params, and MACs for one image of the backbone's own size, as counted here (convolutions and matrix
products, attention included). Top-1 on ImageNet-1K in percent and images/s (A100, batch 128, as
the InceptionNeXt study prints them) as published; a dash if nothing was. Every name is a SPEC
(`search spec NAME`), a base to extend, and a model of timm's (`mf_NAME`).

Made by `search zoo --markdown`.
"""


@click.command()
@click.argument("family", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON list instead of a table.")
@click.option("--markdown", is_flag=True, help="Print the page docs/zoo.md.")
def zoo(family: str | None, as_json: bool, markdown: bool) -> None:
    """List the known backbones, or those of one FAMILY."""
    with user_errors():
        from metaformer.zoo_table import zoo_table

        entries = _of_family(zoo_table(), family)
        if as_json:
            rows = [{**asdict(e), "published": e.published.model_dump()} for e in entries]
            echo(json.dumps(rows, indent=2))
            return
        table = [_row(entry) for entry in entries]
        echo(_as_markdown(table) if markdown else _as_text(table))


def _of_family(entries: list[ZooEntry], family: str | None) -> list[ZooEntry]:
    from mixers.errors import nearest
    from search.errors import UsageError

    if family is None:
        return entries
    known = list(dict.fromkeys(entry.published.family for entry in entries))
    found = [entry for entry in entries if entry.published.family.lower() == family.lower()]
    if not found:
        words = f"FAMILY: got {family}; allowed: {', '.join(known)}{nearest(family, known)}"
        raise UsageError(words)
    return found


def _row(entry: ZooEntry) -> tuple[str, ...]:
    said = entry.published
    return (
        entry.name,
        said.family,
        f"{entry.params / 1e6:.2f} M",
        f"{entry.macs / 1e9:.2f} G",
        "–" if said.top1 is None else f"{said.top1:.1f}",
        *("–" if speed is None else f"{speed:g}" for speed in (said.train, said.infer)),
        said.weights or "–",
    )


def _as_text(table: list[tuple[str, ...]]) -> str:
    rows = [_COLUMNS, *table]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
             for row in rows)  # fmt: skip
    return "\n".join(lines)


def _as_markdown(table: list[tuple[str, ...]]) -> str:
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *table]
    return _INTRODUCTION + "\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)
