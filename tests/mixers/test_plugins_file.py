from __future__ import annotations

from pathlib import Path

import pytest

from mixers import PluginError, PluginsFileError, load_registry
from mixers.plugins_file import read_plugin_rules

ROOT = Path(__file__).parents[2]


def write(text: str, name: str = "plugins.toml") -> Path:
    file = Path(name)
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


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


def test_a_refusal_names_the_file_that_was_given() -> None:
    file = write('schema = 1\n[block]\nother = "*"\n', "ours/rules.toml")
    assert read_plugin_rules(file).refusal("other", "1.3") == "ours/rules.toml blocks other"
    file = write('schema = 1\n[allow]\nother = ">=2"\n', "ours/rules.toml")
    rules = read_plugin_rules(file)
    assert rules.refusal("third", "1") == "third is not in [allow] of ours/rules.toml"
    assert rules.refusal("other", "1") == "ours/rules.toml allows other >=2, not 1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# ours\n schema = 2", "plugins.toml:2:2: schema: got 2; allowed: 1"),
        ("schema = true", "plugins.toml:1:1: schema: got true; allowed: 1"),
        ("", "plugins.toml: schema: missing; allowed: schema = 1"),
        (
            "schema = 1\nalow = 3",
            "plugins.toml:2:1: alow: unknown key; allowed: schema, allow, block, resolve, "
            "mixers, local, trainers; did you mean allow?",
        ),
        ("schema = 1\n\n[blocks]\nx = '*'", "plugins.toml:3:2: blocks: unknown key; allowed: "),
        ("schema = 1\n[allow]\nx = 3", "plugins.toml:3:1: allow.x: got 3; allowed: a version"),
        (
            "schema = 1\n[block]\ny = '*'\nx = 'new'",
            "plugins.toml:4:1: block.x: got 'new'; allowed: a version range such as",
        ),
        ("schema = 1\n[block]\nx = '1.2'", "or '*'; did you mean '==1.2'?"),
        ('schema = 1\n[block]\n"\\u0078" = 3', "plugins.toml:2:2: block.x: got 3"),
        ("schema = 1\nblock = 3", "plugins.toml:2:1: block: got 3; allowed: a table"),
        ("schema = 1\n[allow]\nx = = 3", "plugins.toml:3:5: not TOML: invalid value"),
        ("schema = ", "plugins.toml:1:10: not TOML: invalid value"),
        ("schema = 1\nblock = {x = ", "plugins.toml:2:14: not TOML: "),
        ("schema = 1\n[resolve]\nx = 'y'", "plugins.toml:3:1: resolve.x: got 'y'; allowed: 'dis"),
        ("schema = 1\n[mixers]\nx = 1", "plugins.toml:3:1: mixers.x: got 1; allowed: a table"),
        ("schema = 1\n[mixers.x]\nserch = 1", "mixers.x.serch: unknown key; allowed: enabled,"),
        ("schema = 1\n[mixers.x]\nenabled = 1", "plugins.toml:3:1: mixers.x.enabled: got 1; al"),
        ("schema = 1\n[mixers.x]\nsearch = 1", "plugins.toml:3:1: mixers.x.search: got 1; allo"),
        ("schema = 1\n[local]\nx = 'y.py'", "plugins.toml:3:1: local.x: got 'y.py'; allowed: 'F"),
        ("schema = 1\n[local]\nx = 'y.py:Z'", "plugins.toml:3:1: local.x: no such file: y.py"),
        ("schema = 1\nschema = 1\n", "plugins.toml:2:11: not TOML: cannot overwrite a value"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_its_place(text: str, words: str) -> None:
    with pytest.raises(PluginsFileError) as caught:
        read_plugin_rules(write(text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused_at_the_byte() -> None:
    Path("plugins.toml").write_bytes(b"schema = 1\n# \xff\n")
    with pytest.raises(PluginsFileError, match=r"plugins.toml:2:3: not text: TOML must be UTF-8"):
        read_plugin_rules()


def test_a_named_file_that_is_missing_is_an_error_that_names_its_neighbour() -> None:
    write("schema = 1", "ours/plugins.toml")
    with pytest.raises(PluginsFileError) as caught:
        read_plugin_rules("ours/plugin.toml")
    words = "ours/plugin.toml: no such file; did you mean ours/plugins.toml?"
    assert str(caught.value) == words
    with pytest.raises(PluginsFileError, match="did you mean ours/plugins.toml"):
        read_plugin_rules("our/plugins.toml")
    with pytest.raises(PluginsFileError, match=r"elsewhere\.toml: no such file$"):
        read_plugin_rules("elsewhere.toml")
    with pytest.raises(PluginsFileError, match="ours: got a folder; allowed: a TOML file"):
        read_plugin_rules("ours")


def test_a_file_that_may_not_be_read_is_the_machines_affair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = write("schema = 1")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PluginError, match=r"^plugins.toml: permission denied$"):
        read_plugin_rules(file)


@pytest.mark.parametrize(
    ("section", "first", "second"),
    [
        ("block", 'foo-mix = "*"', 'Foo_Mix = "<0.1"'),
        ("allow", 'foo-mix = "*"', '"foo.mix" = "*"'),
        ("block", 'FOO = "*"', 'foo = "*"'),
        ("mixers", '"foo-mix/gated" = {enabled = false}', '"Foo_Mix/gated" = {enabled = true}'),
    ],
)
def test_two_keys_that_mean_one_thing_are_refused_and_both_are_named(
    section: str, first: str, second: str
) -> None:
    write(f"schema = 1\n[{section}]\n{first}\n{second}\n")
    with pytest.raises(PluginsFileError) as refused:
        read_plugin_rules()
    assert str(refused.value).startswith("plugins.toml:4:")
    assert "means the same as" in str(refused.value)
    assert "in plugins.toml:3:" in str(refused.value)


@pytest.mark.parametrize("version", ["banana", "", "1.0-final-2", "unknown"])
def test_a_version_that_cannot_be_compared_is_not_let_through(version: str) -> None:
    write('schema = 1\n[block]\none = "<0.1"\nall = "*"\n[allow]\none="*"\nall="*"\ntwo=">=1"\n')
    rules = read_plugin_rules()
    assert "cannot be compared" in str(rules.refusal("one", version))
    assert "cannot be compared" in str(rules.refusal("two", version))
    assert rules.refusal("all", version) == "plugins.toml blocks all"
    write('schema = 1\n[allow]\nany-version = "*"\nthis = "===banana"\n')
    rules = read_plugin_rules()
    assert rules.refusal("any-version", version) is None
    assert (rules.refusal("this", version) is None) == (version == "banana")


@pytest.mark.parametrize("table", ["local", "trainers"])
@pytest.mark.parametrize("word", ["any", "choice", "range", "local", "null"])
def test_words_of_specs_are_no_names(table: str, word: str) -> None:
    Path("mine.py").touch()
    write(f'schema = 1\n[{table}]\n{word} = "mine.py:Mine"\n')
    with pytest.raises(PluginsFileError, match=f"plugins.toml:3:1: {table}.{word}: a word of"):
        read_plugin_rules()


@pytest.mark.parametrize("text", ["[" * 5_000, "schema = " + "1" * 5_000, "a = " + "{b=" * 3_000])
def test_what_the_parser_cannot_take_is_one_message(text: str) -> None:
    write(text)
    with pytest.raises(PluginsFileError, match=r"plugins\.toml"):
        read_plugin_rules()


def test_every_mistake_is_named_in_the_order_of_the_lines() -> None:
    Path("mine.py").touch()
    write(
        'schema = 1\ncolour = 3\n[mixers.a]\nenabled = "yes"\ndefaults = 3\n'
        '[block]\none = 1\ntwo = "nonsense"\n[resolve]\nx = "y"\n'
        '[local]\nany = "mine.py:A"\nok = "mine.py:B"\ngone = "gone.py:C"\n[allow]\nthree = []\n'
    )
    with pytest.raises(PluginsFileError) as refused:
        read_plugin_rules()
    lines = str(refused.value).splitlines()
    assert [int(line.split(":")[1]) for line in lines] == [2, 4, 5, 7, 8, 10, 12, 14, 16]


def test_every_name_that_there_is_not_is_named_too() -> None:
    write("schema = 1\n[mixers.poling]\n[resolve]\npooling = 'x/pooling'\n[mixers.nonsense]\n")
    with pytest.raises(PluginsFileError) as refused:
        load_registry()
    lines = str(refused.value).splitlines()
    assert [line.split(":")[1] for line in lines] == ["2", "4", "5"]
    assert "did you mean pooling?" in lines[0]
