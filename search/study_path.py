"""Whether a study is there, file or folder, judged without torch: a slip is answered at once."""

from __future__ import annotations

import os
from pathlib import Path

from mixers.errors import did_you_mean, nearest_path
from search.errors import UsageError

STUDY_FILE = "study.yaml"  # that of a run folder
_ALLOWED = "the folder of a study, such as runs/NAME"
_SHOWN = 3  # folders that may be meant


def require_study_file(file: str | Path) -> None:
    """UsageError, with what may be meant, where `file` is a folder or is not there."""
    if os.path.isdir(file):
        inside = os.path.join(file, "study.yaml")
        meant = did_you_mean(inside if os.path.isfile(inside) else None)
        raise UsageError(f"{file}: got a folder; allowed: a study file{meant}")
    if not os.path.exists(file):
        raise UsageError(f"{file}: no such study file{did_you_mean(nearest_path(file))}")


def require_study_folder(path: str | Path) -> Path:
    """`path`; UsageError, with what may be meant, where it is not the folder of a study."""
    if os.path.isfile(path):
        inside = os.path.dirname(path) if os.path.basename(path) == STUDY_FILE else None
        raise UsageError(f"{path}: got a file; allowed: {_ALLOWED}{did_you_mean(inside)}")
    if not os.path.isdir(path):
        close = nearest_path(path, folder=True)
        raise UsageError(f"{path}: no such folder; allowed: {_ALLOWED}{did_you_mean(close)}")
    if not os.path.isfile(os.path.join(path, STUDY_FILE)):
        held = [str(folder) for folder in study_folders(path)]
        words = f"holds no {STUDY_FILE}; allowed: {_ALLOWED}{did_you_mean(*held[:_SHOWN])}"
        raise UsageError(f"{path}: {words}")
    return Path(path)


def study_folders(out: str | Path) -> list[Path]:
    """The folders directly below `out` that hold a study, by name; none where it is no folder."""
    if not os.path.isdir(out):
        return []
    return sorted(path.parent for path in Path(out).glob(f"*/{STUDY_FILE}"))
