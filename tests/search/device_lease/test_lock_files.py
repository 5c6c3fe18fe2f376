from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import torch

from search.device_lease import lease
from search.device_lease.lease import device_lease
from search.device_lease.lock_files import Holder, LeaseFolder, give_back, sign

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> LeaseFolder:
    before = os.umask(0o077)
    try:
        return LeaseFolder(tmp_path / "leases", everybody=True)
    finally:
        os.umask(before)


def take(folder: LeaseFolder, name: str) -> int:
    before = os.umask(0o077)
    try:
        descriptor = folder.take(name)
    finally:
        os.umask(before)
    assert descriptor is not None
    return descriptor


def test_others_can_use_folder_and_files_whatever_the_umask(folder: LeaseFolder) -> None:
    os.close(take(folder, "cpu-00000"))
    assert stat.S_IMODE(os.stat(folder.path).st_mode) == 0o1777
    assert stat.S_IMODE(os.stat(folder.path / "cpu-00000").st_mode) == 0o666


def test_a_link_that_was_planted_is_not_followed(folder: LeaseFolder, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "other victim").write_text("precious")
    (folder.path / "symbolic").symlink_to(victim)
    (folder.path / "dangling").symlink_to(tmp_path / "made")
    (folder.path / "hard").hardlink_to(tmp_path / "other victim")
    os.mkfifo(folder.path / "fifo")
    for name in ("symbolic", "dangling", "hard", "fifo"):
        with pytest.raises(OSError):  # noqa: PT011
            folder.take(name)
    assert victim.read_text() == (tmp_path / "other victim").read_text() == "precious"
    assert not (tmp_path / "made").exists()


def test_a_file_that_may_only_be_read_is_locked_all_the_same(
    folder: LeaseFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.path / "a").touch()
    opened = os.open

    def refuse_writing(path: str, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if flags & os.O_RDWR:
            raise PermissionError
        return opened(path, flags, *rest, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse_writing)
    descriptor = take(folder, "a")
    sign(descriptor, Holder.this_process())
    assert folder.take("a") is None
    give_back(descriptor)


def test_a_folder_that_is_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "leases").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError):  # noqa: PT011
        LeaseFolder(tmp_path / "leases", everybody=True)


def test_a_lock_whose_file_was_removed_is_taken_on_the_new_one(
    folder: LeaseFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = LeaseFolder._open

    def open_and_lose(self: LeaseFolder, name: str) -> int:
        monkeypatch.setattr(LeaseFolder, "_open", opened)
        descriptor = opened(self, name)
        (self.path / name).unlink()
        return descriptor

    monkeypatch.setattr(LeaseFolder, "_open", open_and_lose)
    first = take(folder, "a")
    assert folder.take("a") is None
    os.close(first)


def test_the_holder_can_be_read_until_it_gives_back(folder: LeaseFolder) -> None:
    descriptor = take(folder, "a")
    assert folder.holder("a") is None
    sign(descriptor, Holder.this_process())
    holder = folder.holder("a")
    assert holder is not None
    assert holder.pid == os.getpid()
    assert "python" in holder.command
    assert holder.start_ticks is not None
    assert folder.is_held("a")
    give_back(descriptor)
    assert folder.holder("a") is None
    assert not folder.is_held("a")


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"1",
        b'{"pid": "x", "command": "c", "since": "s", "start_ticks": null}',
    ],
)
def test_what_another_program_wrote_there_names_nobody(folder: LeaseFolder, written: bytes) -> None:
    (folder.path / "a").write_bytes(written)
    assert folder.holder("a") is None


def test_a_holder_that_was_forged_cannot_control_a_terminal(folder: LeaseFolder) -> None:
    text = '{"pid": 1, "command": "\\u001b[31mred", "since": "\\n", "start_ticks": 1}'
    (folder.path / "a").write_text(text)
    assert str(folder.holder("a")) == "process 1 (?[31mred) since ?"


def test_without_the_shared_folder_the_users_own_is_taken_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(lease, "shared_folder", lambda: tmp_path / "file")
    monkeypatch.setattr(lease, "own_folder", lambda: tmp_path / "own" / "leases")
    with device_lease(CPU, wait_seconds=0) as held:
        assert held.description.startswith("this user's processes only, in ")
        assert str(tmp_path / "file") in held.description
        assert list((tmp_path / "own" / "leases").iterdir())


def test_where_no_folder_can_be_had_nothing_is_kept_away_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(lease, "shared_folder", lambda: tmp_path / "file")
    monkeypatch.setattr(lease, "own_folder", lambda: tmp_path / "file" / "own")
    with device_lease(CPU, wait_seconds=0) as held:
        assert held.description.startswith("nobody: ")
