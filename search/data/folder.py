"""Image folders: PATH/train/CLASS/*.jpg, and the same under validation (or val) and test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from search.data.source import is_folder
from search.data.splits import (
    SELECTION_SHARE,
    Decoder,
    Splits,
    fingerprint_of,
    image_set,
    stratified,
)
from search.errors import UsageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".tif", ".tiff")
_VALIDATION_NAMES = ("validation", "val")


@dataclass(frozen=True)
class FolderSource:
    """The image files of one split with their labels."""

    files: Sequence[Path]
    labels: Sequence[int]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> tuple[Image.Image, int]:
        with Image.open(self.files[index]) as image:
            image.load()
            return image, self.labels[index]

    def check(self, index: int) -> None:
        with Image.open(self.files[index]):
            pass

    def name(self, index: int) -> str:
        return str(self.files[index])


def load_folder(root: Path, image_size: int) -> Splits:
    """The three splits of the folder at `root`.

    Where there is no validation or no test folder, the one that is there is the reported part,
    and the selecting part is carved from train. UsageError where a split, a class or all images
    are missing, PermissionError where that cannot be seen.
    """
    train = _folder(root, "train")
    held = {name: _folder(root, *names) for name, names in _HELD.items()}
    if train is None or not any(held.values()):
        names = ", ".join(sorted(_folders_in(root))) or "none"
        raise UsageError(
            f"data: {root} needs a folder train and one of validation (or val) and test; "
            f"folders there: {names}"
        )
    class_names = _class_names(train)
    source = _read_split(train, class_names)
    reported = _read_split(held["test"] or held["validation"], class_names)
    _refuse_one_folder_twice(train, *held.values())
    members: Sequence[int] = range(len(source))
    if held["validation"] is not None and held["test"] is not None:
        selecting = _read_split(held["validation"], class_names)
        chosen: Sequence[int] = range(len(selecting))
        decoder = Decoder(image_size, len(source) + len(selecting) + len(reported))
    else:
        selecting = source
        members, chosen = stratified(source.labels, SELECTION_SHARE)
        decoder = Decoder(image_size, len(source) + len(reported))
    return Splits(
        name=root.resolve().name,
        train=image_set(source, members, decoder),
        validation=image_set(selecting, chosen, decoder),
        test=image_set(reported, range(len(reported)), decoder),
        class_names=class_names,
        image_size=image_size,
        mirror=True,
        fingerprint=_fingerprint(root, source, selecting, reported),
        unreadable=decoder.unreadable,
    )


_HELD = {"validation": _VALIDATION_NAMES, "test": ("test",)}


def _folder(root: Path, *names: str) -> Path | None:
    return next((root / name for name in names if is_folder(root / name)), None)


def _folders_in(root: Path) -> set[str]:
    return {item.name for item in os.scandir(root) if is_folder(item.path)}


def _refuse_one_folder_twice(*folders: Path | None) -> None:
    seen: dict[Path, Path] = {}
    for folder in folders:
        if folder is None:
            continue
        twin = seen.setdefault(folder.resolve(), folder)
        if twin is not folder:
            raise UsageError(
                f"data: {folder} and {twin} are the same folder; the images that teach or select "
                "cannot be the ones that are reported"
            )


def _fingerprint(root: Path, *sources: FolderSource) -> str:
    """Of the files' names and sizes."""
    return fingerprint_of(
        f"{os.path.relpath(file, root)} {file.stat().st_size}"
        for source in sources
        for file in source.files
    )


def _class_names(train: Path) -> tuple[str, ...]:
    names = tuple(sorted(_folders_in(train)))
    if len(names) < 2:
        raise UsageError(
            f"data: {train} holds {len(names)} class folders; allowed: 2 or more, "
            "each with the images of one class"
        )
    return names


def _read_split(folder: Path | None, class_names: Sequence[str]) -> FolderSource:
    assert folder is not None
    extra = sorted(_folders_in(folder) - set(class_names))
    if extra:
        raise UsageError(f"data: {folder} holds classes that train lacks: {', '.join(extra)}")
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        found = _images_in(folder / name)
        if not found:
            raise UsageError(f"data: no images of class {name} in {folder / name}")
        files += found
        labels += [label] * len(found)
    return FolderSource(files, labels)


def _images_in(folder: Path) -> list[Path]:
    """The files of images in and below `folder`; empty where it is not there."""
    if not is_folder(folder):
        return []
    return sorted(
        Path(place, name)
        for place, _, names in os.walk(folder, onerror=_raise)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES
    )


def _raise(error: OSError) -> None:
    raise error  # os.walk would pass over what it may not read
