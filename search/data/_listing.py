"""Image files below a folder, and the count of everything there that is not read."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import features

from search.data.source import is_folder

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".ppm", ".tif", ".tiff"),
    *((".avif",) if features.check("avif") else ()),
)
_SYSTEM_FOLDERS = frozenset(
    ("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found",
     "__pycache__")
)  # fmt: skip
_SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"))
_SHOWN = 8


@dataclass(frozen=True)
class ImageFile:
    """A file with its size in bytes and its device and inode; both empty for a broken link."""

    path: Path
    size: int = -1
    inode: tuple[int, int] | None = None


@dataclass
class PassedOver:
    """Counts of what lies in a data folder and is not read, by kind and folder."""

    root: Path
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, kind: str, place: Path | str) -> None:
        self.counts[kind, os.path.relpath(place, self.root)] += 1

    def words(self, within: Path | None = None) -> str:
        """Return the counts in one line, below one folder if it is given; empty if none."""
        shown = sorted(
            (place, kind, count)
            for (kind, place), count in self.counts.items()
            if within is None or (self.root / place).is_relative_to(within)
        )
        words = [f"{count} {kind} in {place}" for place, kind, count in shown[:_SHOWN]]
        rest = sum(count for _, _, count in shown[_SHOWN:])
        return ", ".join([*words, f"{rest} more in other places"] if rest else words)


def is_left_by_system(name: str) -> bool:
    """Return whether a file or folder is hidden, or left behind by an operating system."""
    return name.startswith(".") or name.lower() in (_SYSTEM_FOLDERS | _SYSTEM_FILES)


def folders_in(folder: Path) -> set[str]:
    """Return the names of the folders in `folder`, linked ones included, hidden ones not."""
    return {
        item.name
        for item in os.scandir(folder)
        if is_folder(item.path) and not is_left_by_system(item.name)
    }


def count_unread(folder: Path, read: set[str], passed: PassedOver) -> None:
    """Count what lies in `folder` itself, except the folders `read`."""
    for item in os.scandir(folder):
        if is_folder(item.path):
            if item.name not in read:
                passed.add(f"folder {item.name}", folder)
        else:
            passed.add(_kind(item.name), folder)


def images_in(folder: Path, passed: PassedOver) -> list[ImageFile]:
    """Return the image files in and below `folder`, sorted; [] if it is not there.

    Linked folders are read, each folder once, so that a loop of links ends.

    Raises:
        PermissionError: if a folder or file cannot be seen.
    """
    if not is_folder(folder):
        return []
    found = []
    for place, names in _walk(folder, passed):
        for name in names:
            if is_left_by_system(name) or Path(name).suffix.lower() not in SUFFIXES:
                passed.add(_kind(name), place)
                continue
            file = image_file(Path(place, name))
            if file is None:
                passed.add("no file (a pipe, a socket or a device)", place)
            else:
                found.append(file)
    return sorted(found, key=lambda file: file.path)


def _walk(folder: Path, passed: PassedOver) -> Iterator[tuple[str, list[str]]]:
    entered = set()
    for place, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in entered:
            passed.add(f"link {os.path.basename(place)} to a folder read", os.path.dirname(place))
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        for name in folders:
            if is_left_by_system(name):
                passed.add(f"folder {name}", place)
        folders[:] = sorted(name for name in folders if not is_left_by_system(name))
        yield place, names


def image_file(path: Path) -> ImageFile | None:
    """Return what `path` leads to; None if that is no file (a pipe, a socket, a device)."""
    try:
        status = os.stat(path)
    except PermissionError:
        raise
    except OSError:  # a link that leads nowhere, or in a circle
        return ImageFile(path)
    if not stat.S_ISREG(status.st_mode):
        return None
    return ImageFile(path, status.st_size, (status.st_dev, status.st_ino))


def _kind(name: str) -> str:
    """The extension of a file that is not read, or its name if systems leave it behind."""
    if is_left_by_system(name) and name.lower().lstrip(".") in ("ds_store", *_SYSTEM_FILES):
        return name
    if name.startswith("."):
        return f"hidden {Path(name).suffix.lower()}".strip()
    return Path(name).suffix.lower() or "without extension"


def _raise(error: OSError) -> None:
    raise error  # os.walk would pass over what it may not read
