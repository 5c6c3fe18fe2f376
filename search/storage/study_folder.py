"""The folder of a study: found by a path, and checked to hold its own files, without torch."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from mixers.errors import did_you_mean, nearest_path
from search.errors import EnvironmentProblem, UsageError

STUDY_FILE = "study.yaml"  # that of a run folder
_ALLOWED = "the folder of a study, such as runs/NAME"
_SHOWN = 3  # folders that may be meant
_OWN_FOLDERS = ("weights", "checkpoints")
_OWN_FILES = (
    STUDY_FILE, "journal.log", "journal.lock", "study.lock", "trials.jsonl", "baselines.jsonl",
    "summary.json", "best.yaml", "best.safetensors", "errors.log",
)  # fmt: skip


def require_study_folder(path: str | Path) -> Path:
    """`path`; UsageError, with what may be meant, if it is not the folder of a study."""
    if os.path.isfile(path):
        inside = os.path.dirname(path) if os.path.basename(path) == STUDY_FILE else None
        raise UsageError(f"{path}: got a file; allowed: {_ALLOWED}{did_you_mean(inside)}")
    if not os.path.isdir(path):
        close = nearest_path(path, folder=True)
        raise UsageError(f"{path}: no such folder; allowed: {_ALLOWED}{did_you_mean(close)}")
    require_own_files(path)
    if not os.path.isfile(os.path.join(path, STUDY_FILE)):
        held = [str(folder) for folder in study_folders(path)]
        words = f"holds no {STUDY_FILE}; allowed: {_ALLOWED}{did_you_mean(*held[:_SHOWN])}"
        raise UsageError(f"{path}: {words}")
    return Path(path)


def require_own_files(folder: str | Path) -> None:
    """Check that what a study reads and writes in its folder lies there and nowhere else.

    Raises:
        EnvironmentProblem: One of its files is a symbolic link, a folder, a pipe or a device, or
            one of its folders is a link or a file.
    """
    for name in _OWN_FOLDERS:
        _require(folder, name, stat.S_ISDIR, "a folder")
    weights = [path.name for path in Path(folder).glob("trial-*.safetensors")]
    for name in (*_OWN_FILES, *weights):
        _require(folder, name, stat.S_ISREG, "a file")


def _require(folder: str | Path, name: str, is_right: Callable[[int], bool], allowed: str) -> None:
    path = os.path.join(folder, name)
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if is_right(mode):
        return
    if stat.S_ISLNK(mode):
        got = f"a symbolic link to {os.readlink(path)}"
    elif stat.S_ISDIR(mode):
        got = "a folder"
    else:
        got = "a file" if stat.S_ISREG(mode) else "a pipe, socket or device"
    words = f"got {got}; allowed: {allowed} in the study's own folder; restore it"
    raise EnvironmentProblem(f"{path}: {words}, or choose another --out")


def study_folders(out: str | Path) -> list[Path]:
    """The folders directly below `out` that hold a study, by name; none if it is no folder."""
    if not os.path.isdir(out):
        return []
    return sorted(path.parent for path in Path(out).glob(f"*/{STUDY_FILE}"))
