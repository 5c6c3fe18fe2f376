"""Docstrings begin as is usual, and forms that must be read twice stay out (docs/glossary.md).

The forms are few and were frequent here; a reviewer knows more of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    file
    for package in ("mixers", "metaformer", "search")
    for file in (ROOT / package).rglob("*.py")
)
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
OPENINGS = re.compile(r"(What|Who|Whom|Whose|Whether|How|Where|Which)\b")
BANNED = {
    "makes the budget": "meets the budget",
    "made the budget": "met the budget",
    "nothing to speak of": "negligible",
    "anew": "again",
    "goes on": "continues, or resumes",
    "(None|[a-z]+ is none|[A-Z][a-z]+Error|EnvironmentProblem) where": "if",
}
CONDITIONS_PER_1000_WORDS = 2.0  # of "where" in docstrings; the word has its use for places


def docstrings() -> Iterator[tuple[str, str]]:
    """The place and the text of every docstring."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text:
                    yield f"{file.relative_to(ROOT)}: {getattr(node, 'name', 'module')}", text


def test_a_docstring_begins_with_a_noun_phrase_or_an_imperative() -> None:
    assert not [place for place, text in docstrings() if OPENINGS.match(text)]


def test_where_is_for_places() -> None:
    texts = [text for _, text in docstrings()]
    words = sum(len(text.split()) for text in texts)
    found = sum(len(re.findall(r"\bwhere\b", text)) for text in texts)
    assert 1000 * found / words <= CONDITIONS_PER_1000_WORDS


@pytest.mark.parametrize("form", BANNED)
def test_forms_that_must_be_read_twice_stay_out(form: str) -> None:
    pattern = re.compile(rf"(?<![-\w]){form}(?![-\w])")
    texts = [*docstrings(), *((str(page), page.read_text(encoding="utf-8")) for page in PAGES)]
    assert not [place for place, text in texts if pattern.search(text)], BANNED[form]


def test_the_glossary_is_sorted_and_names_each_term_once() -> None:
    text = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^\| ([\w ]+) \|", text, re.MULTILINE)[1:]
    assert len(terms) > 20
    assert terms == sorted(set(terms), key=str.lower)


def test_each_decision_has_a_status() -> None:
    for page in (ROOT / "docs/decisions").glob("*.md"):
        line = page.read_text(encoding="utf-8").split("\n")[2]
        assert re.match(r"Status: (accepted|superseded by \[\d{4}\]\(\d{4}-[\w-]+\.md\))", line), (
            page
        )


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (ROOT / "search").glob("*/__init__.py")}
    assert rooms == set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
