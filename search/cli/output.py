"""Printing of text that may come from files or third parties, without control over the terminal."""

from __future__ import annotations

import re
from typing import Any

import click

# C0 and C1 controls but newline and tab, marks that reorder text, separators that break lines,
# and halves of surrogates, which stand for bytes that are no UTF-8
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: str) -> str:
    """Return `text` with each control character written as Python escapes it, such as `\\x1b`."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def echo(text: Any = "", *, err: bool = False) -> None:
    """Print `text` and a newline to standard output or error, control characters escaped."""
    click.echo(plain(str(text)), err=err)


def cell(text: str) -> str:
    """Return `text` for a cell of a rich table: neither markup nor control characters act."""
    from rich.markup import escape  # 30 ms that --help need not wait for

    return escape(plain(text))
