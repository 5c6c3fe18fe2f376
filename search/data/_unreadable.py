"""Images that cannot be read, each with the reason."""

from __future__ import annotations

import os
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError


class Unreadable(NamedTuple):
    """An image that is skipped, by its path or its place in the data set."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def why_unreadable(error: Exception, name: str) -> str:
    """Return the reason in one line, from what reading the image `name` raised."""
    words = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, Image.DecompressionBombError):
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return f"size limit: more than {limit:,} pixels"
    if isinstance(error, FileNotFoundError):
        return "link to a file that is not there" if os.path.islink(name) else "no such file"
    if isinstance(error, UnidentifiedImageError):
        empty = os.path.isfile(name) and not os.path.getsize(name)
        return "zero bytes" if empty else "not an image, or of a kind that is not read"
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or words
    if isinstance(error, MemoryError):
        return "not enough memory"
    if words.startswith("unknown range"):
        return words
    if "truncated" in words.lower() or isinstance(error, EOFError):
        return f"truncated: {words}"
    return f"damaged: {words}"
