"""Where an installed mixer came from."""

from __future__ import annotations

import json
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

from mixers.provenance import files_digest, install_origin, published, unmet_requirement


def installed(files: dict[str, str]) -> Distribution:
    """A distribution whose metadata hold these files."""
    folder = Path("theirs-1.0.dist-info")
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return PathDistribution(folder)


@pytest.mark.parametrize(
    ("said", "origin"),
    [
        (None, "index"),
        ({"url": "file:///x", "dir_info": {"editable": True}}, "editable file:///x"),
        ({"url": "file:///x", "dir_info": {}}, "file:///x"),
        (
            {"url": "https://x/y", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "git+https://x/y@abc",
        ),
    ],
)
def test_the_origin_is_what_direct_url_says(said: object, origin: str) -> None:
    files = {} if said is None else {"direct_url.json": json.dumps(said)}
    assert install_origin(installed(files)) == origin


def test_the_digest_changes_with_the_code_and_not_with_what_python_compiles() -> None:
    code = "theirs/__init__.py,sha256=abc,10\n"
    compiled = "theirs/__pycache__/__init__.cpython-311.pyc,,\ntheirs-1.0.dist-info/RECORD,,\n"
    digest = files_digest(installed({"RECORD": code}))
    assert files_digest(installed({"RECORD": code + compiled})) == digest
    assert files_digest(installed({"RECORD": code.replace("abc", "abd")})) != digest
    assert files_digest(installed({"RECORD": compiled})) == ""


def test_a_requirement_counts_where_its_marker_does() -> None:
    metadata = """\
Metadata-Version: 2.1
Name: theirs
Version: 1.0
Requires-Dist: torch
Requires-Dist: metaformer_search>=9; python_version < "3"
Requires-Dist: Metaformer.Search<2
"""
    theirs = published(installed({"METADATA": metadata}))
    assert (theirs.name, theirs.version) == ("theirs", "1.0")
    assert unmet_requirement(theirs.requires, "metaformer-search", "1.5") is None
    assert unmet_requirement(theirs.requires, "metaformer-search", "2.0") == "Metaformer.Search<2"
