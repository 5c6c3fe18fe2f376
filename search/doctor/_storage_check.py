"""Check that results can be kept in a folder, with a file that is removed again."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from search.doctor._facts import Storage


def examine_storage(out: Path) -> Storage:
    """Examine whether `out` can be written, and whether file locks work there."""
    folder = out.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    trouble = lock_trouble = ""
    try:
        if out.exists() and not out.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(out))
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as scratch:
            lock_trouble = _lock_trouble(Path(scratch) / "lock")
    except OSError as error:
        trouble = error.strerror or str(error)
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        free = None
    return Storage(folder=str(folder), free_bytes=free, trouble=trouble, lock_trouble=lock_trouble)


def _lock_trouble(file: Path) -> str:
    """Why a lock on `file` excludes nobody; empty if it does."""
    with open(file, "wb") as first, open(file, "rb+") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX)
        except OSError as error:
            return error.strerror or str(error)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return ""
    return "a second lock is granted next to the first"
