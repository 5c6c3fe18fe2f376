"""Text from files and third parties cannot control the terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from rich.table import Table
from run_files import edit_trial

from search.cli import main
from search.cli.output import cell, plain

ROOT = Path(__file__).parents[3]
CLEAR, TITLE, BELL = "\x1b[2J", "\x1b]0;owned\x07", "\x07"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (CLEAR, r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("over\rwritten", r"over\rwritten"),
        ("back\b", r"back\x08"),
        ("\u202efdp.exe", r"\u202efdp.exe"),
        ("a\u2028b", r"a\u2028b"),
        ("caf\udce9", r"caf\udce9"),
        ("naïve 図\tlines\nstay", "naïve 図\tlines\nstay"),
    ],
)
def test_control_characters_are_shown_and_do_nothing(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_a_cell_takes_neither_markup_nor_control_characters() -> None:
    table = Table()
    table.add_row(cell(f"[bold]x[/bold][link=http://there]y[/link]{CLEAR}"))
    console = Console(width=120, force_terminal=False, record=True)
    console.print(table)
    assert rf"[bold]x[/bold][link=http://there]y[/link]{plain(CLEAR)}" in console.export_text()


def output_of(*arguments: str) -> str:
    return CliRunner().invoke(main, list(arguments)).output


def test_no_command_prints_what_a_file_would_have_the_terminal_do(finished: Path) -> None:
    edit_trial(finished, 0, state="FAILED", reason=f"{TITLE}{CLEAR}fine")
    Path("plugins.toml").write_text('schema = 1\n[block]\n"a\\u001b[2Jb" = 3\n')
    Path("spec.yaml").write_text('schema: 1\nname: x\nextends: "\\e]0;owned\\a"\n')
    said = output_of("status", str(finished)) + output_of("mixers") + output_of("spec", "spec.yaml")
    assert r"\x1b]0;owned\x07" in said
    assert not set(said) & {"\x1b", "\x07"}
    assert json.loads(output_of("status", str(finished), "--json"))["last"]


def test_every_command_prints_through_these_functions() -> None:
    printing = re.compile(r"click\.s?echo\(|(?<![.\w])print\(")
    for file in (ROOT / "search" / "cli").glob("*.py"):
        assert file.name == "output.py" or not printing.search(file.read_text()), file
