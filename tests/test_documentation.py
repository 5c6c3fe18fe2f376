"""Every fenced block of the documentation is checked: run, read, or its commands parsed.

A new block fails `test_every_block_is_listed` until CHECKS says how it is checked.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from metaformer.extends import zoo_names
from metaformer.yaml_tree import read_yaml
from mixers.plugins_file import read_plugin_rules
from search.cli import main
from search.training import find_trainer

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*/*.md")])
ELSEWHERE = "run or read by tests of its own"
COMMANDS = "its commands are parsed"
CHECKS = {  # by page: of its blocks, in their order
    "README.md": [ELSEWHERE, ELSEWHERE, ELSEWHERE, COMMANDS, ELSEWHERE, ELSEWHERE],  # test_readme
    "docs/exporting.md": [COMMANDS],
    "docs/files.md": [ELSEWHERE, ELSEWHERE, ELSEWHERE, COMMANDS],  # test_readme
    "docs/measuring.md": [COMMANDS, "shown output", "shown output"],
    "docs/planning.md": [COMMANDS],
    "docs/python.md": [ELSEWHERE] * 7,  # test_python_page
    # test_training_page, training/test_trainers
    "docs/training.md": [ELSEWHERE, ELSEWHERE, "plugins.toml", "toml"],
    # test_writing_a_mixer, but for the fragment
    "docs/writing_a_mixer.md": [*[ELSEWHERE] * 13, "part of plugins.toml"],
    "examples/broken_mixers/README.md": ["plugins.toml"],
    "examples/example_mixers/README.md": ["backbone"],
}


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def checked_as(kind: str) -> Iterator[tuple[str, str]]:
    """The page and the text of each block that is checked in that way."""
    for name, checks in CHECKS.items():
        for text, check in zip(blocks(ROOT / name), checks, strict=True):
            if check == kind:
                yield name, text


def test_every_block_is_listed() -> None:
    found = {str(page.relative_to(ROOT)): len(blocks(page)) for page in PAGES if blocks(page)}
    assert found == {name: len(checks) for name, checks in CHECKS.items()}


def commands() -> list[str]:
    """All `search ...` lines of blocks, fenced or indented."""
    lines = set()
    for page in PAGES:
        text = "\n".join(
            [*blocks(page), *re.findall(r"^ {4}(.*)$", page.read_text(), re.MULTILINE)]
        )
        text = text.replace("\\\n", " ")
        lines |= set(re.findall(r"^search [^=].*$", text, re.MULTILINE))
    return sorted(lines)


@pytest.mark.parametrize("line", commands())
def test_a_command_that_is_shown_is_one_that_the_command_line_takes(line: str) -> None:
    arguments = shlex.split(line, comments=True)[1:]
    command: click.Command = main
    while isinstance(command, click.Group) and arguments and arguments[0] in command.commands:
        command = command.commands[arguments.pop(0)]
    assert command is not main, line
    command.make_context(line, arguments)


def test_a_plugins_toml_that_is_shown_can_be_read() -> None:
    for kind, head in (("plugins.toml", ""), ("part of plugins.toml", "schema = 1\n")):
        for page, text in checked_as(kind):
            Path("plugins.toml").write_text(head + text)
            Path("recipes.py").touch()
            assert read_plugin_rules("plugins.toml"), page


def test_the_trainer_of_the_training_page_is_found_as_the_page_says() -> None:
    page = blocks(ROOT / "docs/training.md")
    Path("recipes.py").write_text(page[1])
    Path("plugins.toml").write_text(page[2])
    assert callable(find_trainer("mine", read_plugin_rules("plugins.toml")).function)


def test_other_toml_is_toml_and_a_backbone_extends_a_known_one() -> None:
    for _, text in checked_as("toml"):
        assert tomllib.loads(text)
    for _, text in checked_as("backbone"):
        Path("backbone.yaml").write_text(text)
        assert read_yaml("backbone.yaml").plain()["extends"] in zoo_names()


def test_every_path_and_link_of_a_page_leads_somewhere() -> None:
    pages = [*PAGES, *ROOT.glob("*.md"), ROOT / "benchmarks/README.md"]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        folders = "search|mixers|metaformer|benchmarks|tests|examples|docs"
        for path in re.findall(rf"`((?:{folders})/[\w./-]+)`", text):
            assert (ROOT / path).exists(), f"{page}: {path}"
        for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", text):
            assert (page.parent / link).exists(), f"{page}: {link}"
