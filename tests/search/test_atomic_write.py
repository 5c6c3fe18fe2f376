from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from search.atomic_write import append_line, keep_copy, write_atomically


def test_a_link_is_replaced_and_its_target_is_left_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    for name in ("file", "file.partial"):
        (tmp_path / name).symlink_to(outside)
    write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    assert not (tmp_path / "file").is_symlink()
    assert outside.read_text() == "kept"


def test_a_link_at_the_name_of_the_new_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever guesses the name gets an error and nothing else."""
    monkeypatch.setattr("secrets.token_hex", lambda _bytes: "guessed")
    (tmp_path / "outside").write_text("kept")
    (tmp_path / "file.guessed.partial").symlink_to(tmp_path / "outside")
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "file", "new")
    assert (tmp_path / "outside").read_text() == "kept"
    assert not (tmp_path / "file").exists()


def test_several_writers_of_one_path_leave_one_whole_file_and_nothing_else(tmp_path: Path) -> None:
    contents = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_atomically(tmp_path / "file", text), contents))
    assert (tmp_path / "file").read_text() in contents
    assert os.listdir(tmp_path) == ["file"]


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inside").touch()
    with pytest.raises(OSError):  # noqa: PT011 -- which error it is depends on the system
        write_atomically(tmp_path / "folder", "new")
    assert os.listdir(tmp_path) == ["folder"]


def test_the_umask_decides_who_may_read(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", "new")
    finally:
        os.umask(old)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("make", [lambda p: p.symlink_to("outside"), os.mkfifo, Path.mkdir])
def test_nothing_is_appended_to_a_link_a_pipe_or_a_folder(tmp_path: Path, make: object) -> None:
    (tmp_path / "outside").write_text("kept")
    make(tmp_path / "file")  # type: ignore[operator]
    with pytest.raises(OSError):  # noqa: PT011 -- which error it is depends on the kind
        append_line(tmp_path / "file", "line\n")
    assert (tmp_path / "outside").read_text() == "kept"


def test_copies_are_numbered(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "file").write_text(str(number))
        assert keep_copy(tmp_path / "file") == tmp_path / f"file.{number}.bak"
    assert (tmp_path / "file.1.bak").read_text() == "1"


def test_another_hard_link_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one\n")
    (tmp_path / "snapshot").hardlink_to(tmp_path / "file")
    append_line(tmp_path / "file", "two\n")
    assert (tmp_path / "file").read_text() == "one\ntwo\n"
    assert (tmp_path / "snapshot").read_text() == "one\n"
