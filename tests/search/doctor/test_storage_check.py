from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from search.doctor._storage_check import examine_storage


def test_a_folder_that_is_still_to_be_made_is_tried_where_it_would_lie(tmp_path: Path) -> None:
    storage = examine_storage(tmp_path / "runs" / "of" / "mine")
    assert storage.folder == str(tmp_path)
    assert (storage.trouble, storage.lock_trouble) == ("", "")
    assert storage.free_bytes is not None
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    assert examine_storage(tmp_path / "runs").trouble == "Not a directory"


def test_a_disk_that_takes_nothing_is_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_keywords: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "mkdir", refuse)
    monkeypatch.setattr(shutil, "disk_usage", refuse)
    storage = examine_storage(tmp_path)
    assert storage.trouble == "Read-only file system"
    assert storage.free_bytes is None


def test_locks_that_exclude_nobody_or_cannot_be_had_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_file: object, _how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", lambda _file, _how: None)
    assert "next to the first" in examine_storage(tmp_path).lock_trouble
    monkeypatch.setattr(fcntl, "flock", refuse)
    storage = examine_storage(tmp_path)
    assert (storage.trouble, storage.lock_trouble) == ("", "No locks available")
