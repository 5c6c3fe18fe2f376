"""Image folders: PATH/train/CLASS/*.jpg, and the same under validation (val, valid) and test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from search.data._listing import (
    SUFFIXES,
    ImageFile,
    PassedOver,
    count_unread,
    folders_in,
    images_in,
)
from search.data._overlap import (
    carve,
    copies_words,
    refuse_shared_files,
    refuse_two_classes,
    shared_copies,
)
from search.data._splits import Decoder, Splits, fingerprint_of, image_set
from search.data.pixels import integer_range, reading_rules, to_rgb
from search.data.source import is_folder
from search.errors import UsageError

_VALIDATION_NAMES = ("validation", "val", "valid")


@dataclass(frozen=True)
class FolderSource:
    """The image files of one split with their labels."""

    files: Sequence[ImageFile]
    labels: Sequence[int]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> tuple[Image.Image, int]:
        with Image.open(self.files[index].path) as image:
            return to_rgb(image), self.labels[index]

    def label(self, index: int) -> int:
        return self.labels[index]

    def check(self, index: int) -> None:
        with Image.open(self.files[index].path) as image:
            integer_range(image)

    def name(self, index: int) -> str:
        return str(self.files[index].path)

    def without(self, indices: dict[int, Path]) -> FolderSource:
        kept = [index for index in range(len(self)) if index not in indices]
        return FolderSource([self.files[i] for i in kept], [self.labels[i] for i in kept])


def load_folder(root: Path, image_size: int) -> Splits:
    """The three splits of the folder at `root`.

    If there is no validation or no test folder, the one that is there is the reported part,
    and the selecting part is carved from train.

    Raises:
        UsageError: if a split, a class or all images are missing, or an image is in two splits.
        PermissionError: if that cannot be seen.
    """
    train = _folder(root, "train")
    held = {name: _folder(root, *names) for name, names in _HELD.items()}
    if train is None or not any(held.values()):
        names = ", ".join(sorted(folders_in(root))) or "none"
        raise UsageError(
            f"data: {root} needs a folder train and one of validation (or val, valid) and test; "
            f"folders there: {names}"
        )
    _refuse_one_folder_twice(train, *held.values())
    used = [folder for folder in (train, *held.values()) if folder is not None]
    passed = PassedOver(root)
    count_unread(root, {folder.name for folder in used}, passed)
    class_names = _class_names(train)
    sources = [_read_split(folder, class_names, passed) for folder in used]
    refuse_shared_files([source.files for source in sources])
    sources, copies = _without_copies(sources)
    notes = [f"not read: {words}" for words in [passed.words()] if words] + copies
    source, reported = sources[0], sources[-1]
    decoder = Decoder(image_size, sum(len(each) for each in sources))
    members: Sequence[int] = range(len(source))
    if len(sources) == 3:
        selecting = sources[1]
        chosen: Sequence[int] = range(len(selecting))
    else:
        selecting = source
        members, chosen = carve(source.files, source.labels)
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
        notes=tuple(notes),
        reading=reading_rules(),
    )


_HELD = {"validation": _VALIDATION_NAMES, "test": ("test",)}


def _folder(root: Path, *names: str) -> Path | None:
    """The folder of that name; UsageError if several of the names are there."""
    there = [root / name for name in names if is_folder(root / name)]
    if len(there) > 1:
        raise UsageError(
            f"data: {' and '.join(str(folder) for folder in there)} are both there; "
            f"allowed: one of {', '.join(names)}"
        )
    return there[0] if there else None


def _without_copies(sources: Sequence[FolderSource]) -> tuple[list[FolderSource], list[str]]:
    """The splits without the images of which a later one has a byte-identical copy, and a note."""
    total = sum(len(source) for source in sources)
    kept: list[FolderSource] = []
    pairs: list[tuple[Path, Path]] = []
    for place, source in enumerate(sources):
        later = [file for other in sources[place + 1 :] for file in other.files]
        twins = shared_copies(source.files, later)
        pairs += [(source.files[index].path, twin) for index, twin in twins.items()]
        kept.append(source.without(twins))
    if not pairs:
        return kept, []
    return kept, [copies_words(pairs, total)]


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
        f"{os.path.relpath(file.path, root)} {file.size}"
        for source in sources
        for file in source.files
    )


def _class_names(train: Path) -> tuple[str, ...]:
    names = tuple(sorted(folders_in(train)))
    if len(names) < 2:
        raise UsageError(
            f"data: {train} holds {len(names)} class folders; allowed: 2 or more, "
            "each with the images of one class"
        )
    return names


def _read_split(folder: Path, class_names: Sequence[str], passed: PassedOver) -> FolderSource:
    extra = sorted(folders_in(folder) - set(class_names))
    if extra:
        raise UsageError(f"data: {folder} holds classes that train lacks: {', '.join(extra)}")
    count_unread(folder, set(class_names), passed)
    files: list[ImageFile] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        found = images_in(folder / name, passed)
        if not found:
            there = passed.words(folder / name) or "nothing"
            raise UsageError(
                f"data: no images of class {name} in {folder / name}; there: {there}; "
                f"read: {', '.join(SUFFIXES)}"
            )
        files += found
        labels += [label] * len(found)
    refuse_two_classes(files, labels)
    return FolderSource(files, labels)
