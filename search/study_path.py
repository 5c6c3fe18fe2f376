"""Whether a study file is there, judged without torch, so that a slip is answered at once."""

from __future__ import annotations

import os
from pathlib import Path

from mixers.errors import did_you_mean, nearest_path
from search.errors import UsageError


def require_study_file(file: str | Path) -> None:
    """UsageError, with what may be meant, where `file` is a folder or is not there."""
    if os.path.isdir(file):
        inside = os.path.join(file, "study.yaml")
        meant = did_you_mean(inside if os.path.isfile(inside) else None)
        raise UsageError(f"{file}: got a folder; allowed: a study file{meant}")
    if not os.path.exists(file):
        raise UsageError(f"{file}: no such study file{did_you_mean(nearest_path(file))}")
