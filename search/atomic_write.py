"""Writing of files written atomically and no symbolic link leads elsewhere."""

from __future__ import annotations

import itertools
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

PARTIAL = ".partial"  # suffix of a file that is being written
_MODE = 0o666  # less the umask
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the file at `path` by `content`, as a whole or not at all.

    The content goes to a new file of a unique name in the same folder, which then takes the place
    of `path`; file and folder are synced. A symbolic link at `path` is replaced and its target is
    left alone. Several processes may write the same path: the last one to finish wins.

    Raises:
        OSError: The folder cannot be written, or the disk is full; `path` is as it was.
    """
    data = content if isinstance(content, bytes) else content.encode()
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    descriptor = os.open(partial, _NEW, _MODE)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except BaseException:  # on a full disk it would take the space that the journal needs
        with suppress(OSError):
            os.unlink(partial)
        raise
    _sync_folder(path.parent)


def append_line(path: Path, line: str) -> None:
    """Append `line`, which ends with a newline, to the regular file at `path`; make it if absent.

    Another hard link of the file, such as that of a snapshot, keeps what it has.

    Raises:
        OSError: `path` is a symbolic link or not a regular file, or cannot be written.
    """
    separate(path)
    descriptor = os.open(path, _APPEND, _MODE)
    with open(descriptor, "a", encoding="utf-8") as stream:
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def separate(path: Path) -> None:
    """Replace a regular file that has other hard links by a copy, so that writing spares those."""
    with suppress(FileNotFoundError):
        found = os.lstat(path)
        if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            write_atomically(path, path.read_bytes())


def keep_copy(path: Path) -> Path:
    """Copy the file at `path` to the first free of `path.1.bak`, `path.2.bak`, ...; return that."""
    for number in itertools.count(1):
        copy = path.with_name(f"{path.name}.{number}.bak")
        if not os.path.lexists(copy):
            write_atomically(copy, path.read_bytes())
            return copy
    raise AssertionError("unreachable")


def _sync_folder(folder: Path) -> None:
    """Make the renaming of a file in `folder` survive a power failure."""
    with suppress(OSError):  # some network file systems refuse it
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
