"""The name of a study, and the file that describes it, checked without torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from mixers.errors import did_you_mean, nearest_path
from search.errors import UsageError

MAX_NAME = 100  # characters, of a study's name
_SHOWN_NAME = 60  # characters of a wrong name in a message


def legal_name(text: str) -> str:
    """Return `text` as the name of a study, which is also that of its folder."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text).lstrip("_.-")[:MAX_NAME] or "study"


def require_legal_name(name: str) -> str:
    """Return `name`; ValueError if a study cannot have it."""
    if name != legal_name(name):
        raise ValueError(
            f"got {name[:_SHOWN_NAME]!r}; allowed: at most {MAX_NAME} of a-z, A-Z, 0-9, _, . and "
            f"-, beginning with a letter or digit{did_you_mean(legal_name(name))}"
        )
    return name


def require_study_file(file: str | Path) -> None:
    """UsageError, with what may be meant, if `file` is a folder or is not there."""
    if os.path.isdir(file):
        inside = os.path.join(file, "study.yaml")
        meant = did_you_mean(inside if os.path.isfile(inside) else None)
        raise UsageError(f"{file}: got a folder; allowed: a study file{meant}")
    if not os.path.exists(file):
        raise UsageError(f"{file}: no such study file{did_you_mean(nearest_path(file))}")
    # opening a pipe waits for a writer, which only that of a shell's <(...) is sure to have
    if not os.path.isfile(file) and not str(file).startswith("/dev/"):
        raise UsageError(f"{file}: got a pipe, socket or device; allowed: a study file")
