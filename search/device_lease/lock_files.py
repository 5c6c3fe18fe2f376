"""Folder of leases and its lock files, safe against files that another user plants there."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from search.hardware.process_tree import printable, start_ticks
from search.user_cache import user_cache

FOLDER_NAME = "metaformer-search-leases"
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_READ_FLAGS = _FLAGS & ~os.O_RDWR | os.O_RDONLY
_MAX_BYTES = 4096  # of a holder's record
_MAX_COMMAND = 200
_ATTEMPTS = 10


def shared_folder() -> Path:
    """One place for all users: /tmp and not TMPDIR, which may differ from user to user."""
    system = Path("/tmp")
    return (system if system.is_dir() else Path(tempfile.gettempdir())) / FOLDER_NAME


def own_folder() -> Path:
    """This user's place on this machine, used if the shared one cannot be; OSError if none."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        return Path(runtime) / FOLDER_NAME
    return user_cache() / f"leases-{os.uname().nodename}"


@dataclass(frozen=True, slots=True)
class Holder:
    """Holder of a lease: its process, its command, and since when (local time).

    `start_ticks` is when the process was started, which tells it from a later one of that pid.
    `shared`: it is one of several that may have it.
    """

    pid: int
    command: str
    since: str
    start_ticks: int | None = None
    shared: bool = False

    @classmethod
    def this_process(cls, *, shared: bool = False) -> Holder:
        command = " ".join([os.path.basename(sys.executable), *sys.orig_argv[1:]])
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        own = os.getpid()
        return cls(own, printable(command, _MAX_COMMAND), since, start_ticks(own), shared)

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command}) since {self.since}"


class LeaseFolder:
    """A folder of lock files, opened; OSError if it cannot be made or be trusted."""

    def __init__(self, path: Path, *, everybody: bool) -> None:
        mode = 0o1777 if everybody else 0o700
        self.path = path
        if not everybody:
            path.parent.mkdir(parents=True, exist_ok=True)
        made = _make(path, mode)
        self._descriptor = os.open(
            path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        )
        try:
            if made:
                os.fchmod(self._descriptor, mode)  # whatever the umask
            if not os.access(path, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._descriptor)

    def take(self, name: str, *, shared: bool = False) -> int | None:
        """The locked file of that name as a descriptor, or None if another process has it.

        What is shared only those keep away who want it for themselves, and keeps away only them.
        """
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        for _ in range(_ATTEMPTS):
            descriptor = self._open(name)
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError:
                os.close(descriptor)
                raise
            if self._is_still(name, descriptor):
                return descriptor
            os.close(descriptor)  # removed meanwhile: a lock on it would exclude nobody
        raise OSError(errno.EAGAIN, "lock file is removed again and again", str(self.path / name))

    def holder(self, name: str) -> Holder | None:
        """Return the process that signed the file last; None if that cannot be read."""
        try:
            descriptor = os.open(name, _READ_FLAGS, dir_fd=self._descriptor)
        except OSError:
            return None
        try:
            return _parse(os.read(descriptor, _MAX_BYTES))
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def is_held(self, name: str) -> bool:
        """Return whether a process has the lock for itself alone just now; for a moment this shares
        it."""
        try:
            descriptor = os.open(name, _READ_FLAGS, dir_fd=self._descriptor)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _open(self, name: str) -> int:
        """The file, made if there is none.

        Not O_CREAT at once: in a sticky folder the kernel refuses that for a file of another
        user's (fs.protected_regular).
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._checked(name, os.open(name, _FLAGS, dir_fd=self._descriptor))
            except PermissionError:  # it is enough for a lock, though not for a name
                return self._checked(name, os.open(name, _READ_FLAGS, dir_fd=self._descriptor))
            except FileNotFoundError:
                pass
            with suppress(FileExistsError):
                flags = _FLAGS | os.O_CREAT | os.O_EXCL
                descriptor = os.open(name, flags, 0o666, dir_fd=self._descriptor)
                os.fchmod(descriptor, 0o666)  # whatever the umask
                return descriptor
        raise OSError(errno.EAGAIN, "lock file is removed again and again", str(self.path / name))

    def _checked(self, name: str, descriptor: int) -> int:
        """The descriptor of a plain file with no other name, which alone may be written."""
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a lock file", str(self.path / name))
        return descriptor

    def _is_still(self, name: str, descriptor: int) -> bool:
        try:
            there = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(descriptor))


def sign(descriptor: int, holder: Holder) -> None:
    """Writes the holder into a locked file; a full disk only costs others the name."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(holder)).encode() + b"\n", 0)


def give_back(descriptor: int) -> None:
    """Frees a locked file, without the name of this process in it; another's stays."""
    with suppress(OSError):
        holder = _parse(os.pread(descriptor, _MAX_BYTES, 0))
        if holder is None or holder.pid == os.getpid():
            os.ftruncate(descriptor, 0)
    os.close(descriptor)


def _make(path: Path, mode: int) -> bool:
    try:
        os.mkdir(path, mode)
    except FileExistsError:
        return False
    return True


def _parse(data: bytes) -> Holder | None:
    try:
        said = json.loads(data)
        pid, ticks, shared = said["pid"], said["start_ticks"], said.get("shared") is True
        words = printable(str(said["command"])), printable(str(said["since"]), 30)
    except (ValueError, KeyError, TypeError):
        return None
    known = isinstance(pid, int) and (ticks is None or isinstance(ticks, int))
    return Holder(pid, *words, ticks, shared) if known else None
