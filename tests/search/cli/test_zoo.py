from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from metaformer import zoo_names, zoo_table
from search.cli import main

ROOT = Path(__file__).parents[3]


def zoo(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["zoo", *arguments])


def test_every_backbone_of_the_zoo_is_listed() -> None:
    result = zoo()
    assert result.exit_code == 0
    names = [line.split()[0] for line in result.output.splitlines()[1:]]
    assert sorted(names) == zoo_names()
    assert "inceptionnext_t  " in result.output
    assert "28.06 M" in result.output
    assert "82.3" in result.output


def test_json_holds_exact_counts_and_what_was_published() -> None:
    rows = {row["name"]: row for row in json.loads(zoo("--json").output)}
    assert rows["swin_t"]["params"] == 28288354
    assert rows["swin_t"]["published"]["top1"] == 81.3
    assert rows["inceptionnext_s_iso"]["published"]["train"] is None


def test_one_family_is_listed_and_an_unknown_one_answered_with_the_nearest() -> None:
    assert len(zoo("swin").output.splitlines()) == 1 + 4
    result = zoo("ConvFormers")
    assert result.exit_code == 2
    assert "did you mean ConvFormer?" in result.output


def test_the_page_of_the_documentation_is_what_the_command_prints() -> None:
    assert zoo("--markdown").output == (ROOT / "docs" / "zoo.md").read_text()


def test_every_backbone_has_a_row_and_every_row_a_backbone() -> None:
    assert sorted(entry.name for entry in zoo_table()) == zoo_names()
