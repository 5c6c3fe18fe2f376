"""A folder that comes to be as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mixers.errors import did_you_mean, nearest_path
from search.errors import EnvironmentProblem, UsageError

CARD = "README.md"
EXPORTED = frozenset(  # all that an export may hold
    {
        CARD, "backbone.yaml", "model.safetensors", "preprocessing.json", "config.json",
        "model.onnx", "model.onnx.data",
    }
)  # fmt: skip


def require_free(path: Path, *, force: bool) -> None:
    """Check that an export may be put at `path`, before anything is computed.

    UsageError if something is there already, but for an earlier export under `force`, or if
    the folder around it is missing; EnvironmentProblem if that may not be written.
    """
    parent = path.absolute().parent
    if not parent.is_dir():
        close = nearest_path(parent, folder=True)
        raise UsageError(f"--out {path}: no such folder: {parent}{did_you_mean(close)}")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise EnvironmentProblem(f"--out {path}: {parent} cannot be written by this user")
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        raise UsageError(f"--out {path}: a file is there; allowed: the path of a new folder")
    others = sorted(set(os.listdir(path)) - EXPORTED)
    if others:
        words = f"a folder with other things is there, such as {others[0]}"
        raise UsageError(f"--out {path}: {words}; allowed: the path of a new folder")
    if not force:
        raise UsageError(f"--out {path}: is there already; --force replaces it")


@contextmanager
def placed(path: Path, *, force: bool) -> Iterator[Path]:
    """An empty folder next to `path` to be filled, which then takes that place.

    Where an error ends it nothing is left, and what was at `path` stays. UsageError and
    EnvironmentProblem as in `require_free`.
    """
    require_free(path, force=force)
    path = path.absolute()
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as beside:
        filling, before = Path(beside) / "new", Path(beside) / "before"
        filling.mkdir()
        yield filling
        require_free(path, force=force)  # somebody may have put something there meanwhile
        if path.exists():
            os.rename(path, before)
        try:
            os.rename(filling, path)
        except OSError:
            if before.exists():
                shutil.move(before, path)
            raise
