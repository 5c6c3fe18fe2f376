"""The user's cache folder: it may be missing, and nothing may depend on it."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def user_cache() -> Path:
    """`$XDG_CACHE_HOME/metaformer-search`, with `~/.cache` as the default base.

    A relative `$XDG_CACHE_HOME` is ignored, as the XDG specification demands.

    Raises:
        FileNotFoundError: the user has no home folder, as in a container that runs under a
            user id without passwd entry.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "metaformer-search"
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        words = "no home folder: HOME is not set, and the user has no passwd entry"
        raise FileNotFoundError(errno.ENOENT, f"{words}; XDG_CACHE_HOME names another folder")
    return Path(home) / ".cache" / "metaformer-search"
