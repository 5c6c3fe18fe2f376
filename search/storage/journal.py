"""Optuna's journal file: a lock that dies with its holder, and a tail that is repaired.

A process killed while it appends leaves a torn last line, after which Optuna can neither read
nor append. The tail is cut back to the last whole record whenever the journal is opened, under
the lock. (docs/decisions/0004-journal.md)
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search.atomic_write import PARTIAL, keep_copy, separate, write_atomically
from search.errors import EnvironmentProblem

_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
LOOKS = 10  # at a lock that is to be had at once
SECONDS_BETWEEN_LOOKS = 0.05


class FileLock:
    """An advisory lock on a file next to the journal; the kernel frees it when its holder dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        descriptor = os.open(self._path, _LOCK_FLAGS, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _NoLock:
    """The lock of a file that only this process knows."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None: ...


@contextmanager
def exclusive(path: Path, refusal: str) -> Iterator[None]:
    """Holds the lock file at `path`; EnvironmentProblem with `refusal` if another holds it."""
    descriptor = os.open(path, _LOCK_FLAGS, 0o644)
    try:
        if not _locked(descriptor):
            raise EnvironmentProblem(refusal)
        if not _is_at(path, descriptor):  # its holder took it away with all that it had made
            raise EnvironmentProblem(refusal)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Return whether the lock could be had; who only looks whether it is held has it for an
    instant."""
    for _ in range(LOOKS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        else:
            return True
    return False


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def open_journal(path: Path) -> JournalStorage:
    """The storage of the journal at `path`, its tail repaired; EnvironmentProblem if a record
    other than the last is broken."""
    lock = FileLock(path.with_suffix(".lock"))
    lock.acquire()
    try:
        separate(path)
        repair_tail(path)
    finally:
        lock.release()
    # optuna does not export the type that it wants here; two methods are what it uses
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))  # type: ignore[arg-type]


@contextmanager
def extended(path: Path) -> Iterator[JournalStorage]:
    """A storage whose operations are appended to the journal at `path` together, or not at all.

    They go to a copy, which replaces the journal at the end: a process that is killed meanwhile
    leaves the journal as it was. Others wait for the journal's lock.
    """
    lock = FileLock(path.with_suffix(".lock"))
    lock.acquire()
    copy = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        write_atomically(copy, path.read_bytes())
        yield JournalStorage(JournalFileBackend(str(copy), lock_obj=_NoLock()))  # type: ignore[arg-type]
        write_atomically(path, copy.read_bytes())
    finally:
        copy.unlink(missing_ok=True)
        lock.release()


def repair_tail(path: Path) -> int:
    """Cuts a torn last record off the file of JSON lines at `path`; returns the bytes cut."""
    if not path.exists():
        return 0
    data = path.read_bytes()
    whole = _whole_records(path, data)
    if whole < len(data):
        if data.endswith(b"\n"):  # not torn by a kill: it may hold what can still be read
            keep_copy(path)
        os.truncate(path, whole)
    return len(data) - whole


def _whole_records(path: Path, data: bytes) -> int:
    """Number of bytes of `data` that are whole records."""
    end = 0
    for number, line in enumerate(data.splitlines(keepends=True), start=1):
        torn = not line.endswith(b"\n")
        if not torn:
            try:
                torn = not isinstance(json.loads(line), dict)
            except (ValueError, RecursionError):
                torn = True
        if torn:
            if end + len(line) < len(data):
                raise EnvironmentProblem(
                    f"{path}: record {number} is broken and others follow it; "
                    "restore the file from a copy, or move the folder away to start again"
                )
            break
        end += len(line)
    return end
