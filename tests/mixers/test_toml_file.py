"""Where a key of a TOML file stands, which tomllib does not tell."""

from __future__ import annotations

import pytest

from mixers._toml_file import find_place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("schema = 1\n[block]\nx = 3\n[allow]\n  x = 3\n", (5, 3)),
        ('schema = 1\n[ allow ]\n"x" = 3\n', (3, 1)),
        ("schema = 1\nallow.x = 3\n", (2, 7)),
        ("schema = 1\nallow = {y = 2, x = 3}\n", (2, 17)),
        ("schema = 1\n[allow.x]\nz = 1\n", (2, 8)),
        ("schema = 1\n[block]\nx = 3\n", None),
        ("x = 1\n# allow.x = 2\n", None),
    ],
)
def test_a_key_is_found_in_the_ways_that_it_is_usually_written(
    text: str, place: tuple[int, int] | None
) -> None:
    assert find_place(text, ("allow", "x")) == place


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[mixers."a/b"]\nsearch = {size = [1], k = {low = 2}}\n', (2, 23)),
        ('[mixers."a/b".search]\nk = [1]\n', (2, 1)),
        ("[mixers.'a/b']\nsearch.k = [1]\n", (2, 8)),
        ('mixers = {"a/b" = {search = {k = 1}}}\n', (1, 30)),
    ],
)
def test_a_key_inside_tables_is_found(text: str, place: tuple[int, int]) -> None:
    assert find_place(text, ("mixers", "a/b", "search", "k")) == place
