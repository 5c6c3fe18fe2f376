from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaformer.errors import SpecError
from metaformer.yaml_tree import MAX_BYTES, parse_yaml, read_yaml, write_yaml


def plain(text: str) -> Any:
    return parse_yaml(text, source="x.yaml").plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0e-6", 1e-6),
        ("no", "no"),
        ("on", "on"),
        ("012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2026-11-23", "2026-11-23"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("'1'", "1"),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("+3", 3),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert plain(f"a: {text}") == {"a": value}
    assert type(plain(f"a: {text}")["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\na: 2", 2, 1, "a: given twice, first in line 1"),
        ("a:\n  b: 1\n  c: 2\n  b: 3", 4, 3, "b: given twice, first in line 2"),
        ("a: 1\n\tb: 2", 2, 1, "found a tab; YAML indents with spaces"),
        ("a: !!python/object/apply:os.system [ls]", 1, 4, "tags are not allowed"),
        ("a: !env X", 1, 4, "tags are not allowed"),
        ("a: *b", 1, 4, "unknown alias *b"),
        ("&a [*a]", 1, 5, "unknown alias *a"),
        ("a: 1\n---\nb: 2", 2, 1, "a second document"),
        ("a: &b {c: 1}\nd: {<<: *b}", 2, 5, "merge keys are not allowed; use extends"),
        ("? [1, 2]\n: 3", 1, 3, "a key must be a word"),
        ("a: b: c", 1, 5, "mapping values are not allowed here"),
        ("a: [1, 2", 1, 9, ""),
        ("", 1, 1, "the file is empty"),
        ("# nothing\n", 1, 1, "the file is empty"),
        ("a: \x07", 1, 4, "not text: character U+0007"),
    ],
)
def test_what_is_not_strict_yaml_is_answered_with_its_place(
    text: str, line: int, column: int, words: str
) -> None:
    with pytest.raises(SpecError) as caught:
        plain(text)
    (problem,) = caught.value.problems
    assert words in problem.message
    assert problem.mark is not None
    assert (problem.mark.line, problem.mark.column) == (line, column)
    assert str(caught.value).startswith(f"x.yaml:{line}:{column}: ")


def test_the_line_itself_is_shown_with_a_caret() -> None:
    with pytest.raises(SpecError) as caught:
        plain("width: 3\nwidth: 4\n")
    assert str(caught.value).splitlines()[1:] == ["    width: 4", "    ^"]


def test_5000_open_brackets_end_at_the_nesting_cap_and_at_once() -> None:
    start = time.process_time()
    with pytest.raises(SpecError, match="nested too deeply; allowed: 32"):
        plain("[" * 5000)
    assert time.process_time() - start < 1


def test_an_alias_bomb_is_counted_not_expanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    start = time.process_time()
    with pytest.raises(SpecError, match="aliases counted as often as they are used"):
        plain("\n".join(lines))
    assert time.process_time() - start < 1


def test_aliases_are_allowed_where_they_are_few() -> None:
    assert plain("a: &m {x: 1}\nb: [*m, *m]")["b"] == [{"x": 1}, {"x": 1}]


def test_a_huge_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    file = tmp_path / "big.yaml"
    file.write_bytes(b"a: [" + b"1, " * 3_500_000 + b"1]")
    start = time.process_time()
    with pytest.raises(SpecError, match=f"allowed: {MAX_BYTES // 1024} KiB"):
        read_yaml(file)
    assert time.process_time() - start < 1


def test_a_binary_file_is_refused_with_the_place_of_its_first_bad_byte(tmp_path: Path) -> None:
    file = tmp_path / "binary.yaml"
    file.write_bytes(b"a: 1\nb: \xff\xfe\x00")
    with pytest.raises(SpecError, match=r"binary.yaml:2:4: not text: YAML must be UTF-8"):
        read_yaml(file)


def test_a_missing_file_and_a_folder_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)


def test_a_very_long_number_is_text_and_a_very_long_text_is_refused() -> None:
    assert plain("a: " + "9" * 100) == {"a": "9" * 100}
    with pytest.raises(SpecError, match="over 4096 characters"):
        plain("a: " + "9" * 5000)


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_bytes_either_parse_or_raise_a_spec_error(data: bytes) -> None:
    file = Path("any.yaml")
    file.write_bytes(data)
    try:
        read_yaml(file)
    except SpecError as error:
        assert error.problems


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@`, \n\t?0.e", max_size=60))
@settings(max_examples=500)
def test_yaml_like_text_either_parses_or_raises_a_spec_error(text: str) -> None:
    try:
        parse_yaml(text, source="x.yaml")
    except SpecError as error:
        assert all(problem.mark is not None for problem in error.problems)


_words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20)
_scalars = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | _words
_floats = st.floats(allow_nan=False, allow_infinity=True)
_values = st.recursive(
    _scalars | _floats,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_words, _values, min_size=1, max_size=5))
@settings(max_examples=300)
def test_what_is_written_is_read_back(value: dict[str, Any]) -> None:
    assert plain(write_yaml(value)) == value


@pytest.mark.parametrize("text", ["1e3", "no", "null", "012", ".inf", "0o7", "~", "true", "", "<<"])
def test_text_that_looks_like_something_else_survives(text: str) -> None:
    assert plain(write_yaml({"a": text, text: 1})) == {"a": text, text: 1}


@pytest.mark.parametrize(
    "text", ['a: "\\UFFFFFFFF"', 'a: "\\U00110000"', "%YAML 1." + "1" * 5000 + "\n---\na: 1"]
)
def test_what_the_yaml_library_stumbles_over_is_answered_with_a_place(text: str) -> None:
    with pytest.raises(SpecError, match=r"^here:1:\d+: not YAML: "):
        parse_yaml(text, source="here")
