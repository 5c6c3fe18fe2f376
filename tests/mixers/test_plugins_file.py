from __future__ import annotations

from pathlib import Path

import pytest

from mixers import PluginError
from mixers.plugins_file import read_plugin_rules

ROOT = Path(__file__).parents[2]


def write(text: str) -> Path:
    Path("plugins.toml").write_text(text)
    return Path("plugins.toml")


def test_without_a_file_everything_installed_is_allowed() -> None:
    assert read_plugin_rules().refusal("anything", "1.0") is None


def test_the_projects_own_file_is_readable_and_allows_the_projects_mixers() -> None:
    assert read_plugin_rules(ROOT / "plugins.toml").refusal("metaformer-search", "0.1.0") is None


def test_a_present_allow_is_exhaustive() -> None:
    write('schema = 1\n[allow]\nmetaformer-search = "*"\nother = ">=1.2,<2"\n')
    rules = read_plugin_rules()
    assert rules.refusal("metaformer_search", "0.1.0") is None
    assert rules.refusal("Other", "1.5") is None
    assert "not 2.0" in str(rules.refusal("other", "2.0"))
    assert "is not in [allow]" in str(rules.refusal("third", "1.0"))


def test_block_takes_versions() -> None:
    write('schema = 1\n[block]\nother = "==1.3"\n')
    rules = read_plugin_rules()
    assert rules.refusal("other", "1.2") is None
    assert "blocks other ==1.3" in str(rules.refusal("other", "1.3"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("schema = 2", "schema: got 2; allowed: 1"),
        ("", "schema: got None"),
        ("schema = 1\nalow = 3", "alow: unknown key; .* did you mean allow"),
        ("schema = 1\n[allow]\nx = 3", "allow.x: got 3"),
        ("schema = 1\n[block]\nx = 'new'", "block.x: got 'new'; allowed: a version range"),
        ("schema = 1\nblock = 3", "block: must be a table"),
        ("schema = ", "plugins.toml: Invalid value"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_its_place(text: str, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        read_plugin_rules(write(text))


def test_a_named_file_that_is_missing_is_an_error() -> None:
    with pytest.raises(PluginError, match=r"elsewhere\.toml"):
        read_plugin_rules("elsewhere.toml")
