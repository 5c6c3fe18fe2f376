"""timm's dataset factory: `torch/cifar10`, `hfds/NAME` and the others that have an index."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image
from timm.data import create_dataset

from search.data._listing import ImageFile, image_file, is_left_by_system
from search.data._overlap import (
    carve,
    copies_words,
    refuse_shared_files,
    refuse_two_classes,
    shared_copies,
)
from search.data._splits import (
    SELECTION_SHARE,
    Decoder,
    Splits,
    fingerprint_of,
    image_set,
    stratified,
)
from search.data.pixels import reading_rules, to_rgb
from search.data.source import DEFAULT_ROOT, TORCH_SETS, DataSource
from search.errors import EnvironmentProblem, UsageError

_INSTALL = "it is not installed; pip install datasets"


@dataclass(frozen=True)
class TimmSource:
    """One split of a timm data set that can be indexed."""

    dataset: Any
    split: str

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int) -> tuple[Image.Image, int]:
        image, label = self._item(index)
        if isinstance(image, Image.Image):
            return to_rgb(image), label
        with Image.open(image) as opened:
            return to_rgb(opened), label

    def label(self, index: int) -> int:
        return self.labels()[index]

    def _item(self, index: int) -> tuple[Any, int]:
        """The image, or a path or file of it, and its label.

        Past the data set if it has a reader: it would answer an unreadable image by the next.
        """
        reader = getattr(self.dataset, "reader", None)
        image, label = (self.dataset if reader is None else reader)[index]
        try:
            return image, int(label)
        except (TypeError, ValueError):
            raise UsageError(f"data: {self.split}[{index}]: label {label!r} is no class") from None

    def check(self, index: int) -> None:
        self.read(index)

    def name(self, index: int) -> str:
        samples = self._samples()
        return str(samples[index][0]) if samples else f"{self.split}[{index}]"

    def files(self) -> list[str]:
        """The images' files, if the set is one of files."""
        return [str(sample[0]) for sample in self._samples()]

    def _samples(self) -> Sequence[tuple[Any, int]]:
        return getattr(getattr(self.dataset, "reader", self.dataset), "samples", None) or ()

    def class_to_index(self) -> dict[str, int] | None:
        return getattr(getattr(self.dataset, "reader", self.dataset), "class_to_idx", None)

    def labels(self) -> Sequence[int]:
        return self._labels

    @cached_property
    def _labels(self) -> list[int]:
        targets: Any = getattr(self.dataset, "targets", None)
        if targets is None:
            targets = [sample[1] for sample in self._samples()]
        if not len(targets):
            return [self._item(index)[1] for index in range(len(self))]
        if getattr(targets, "ndim", 1) == 2:  # QMNIST's class and seven further columns
            targets = targets[:, 0]
        return [int(label) for label in targets]


def load_timm(named: DataSource, image_size: int) -> Splits:
    """A set of timm's from the folder that holds it, `data` by default.

    torch/ and folder download nothing; hfds/ is read by the package datasets, whose cache is the
    folder. The set's validation (or test) part is reported; the part that selects is carved from
    train. UsageError if the data are not there, EnvironmentProblem if timm needs a package
    that is not installed.
    """
    dataset_name, folder = named.name, named.root or DEFAULT_ROOT
    source, reported = (_open(dataset_name, folder, split) for split in ("train", "validation"))
    _refuse_unlike(source, reported, str(named))
    _refuse_system_folders(source, str(named))
    labels = source.labels()
    if not labels:
        raise UsageError(f"data: {named}: train has no images")
    members, carved, notes = _carve(source, reported)
    decoder = Decoder(image_size, len(source) + len(reported))
    classes = getattr(source.dataset, "classes", None) or source.class_to_index()
    classes = classes or range(max(labels) + 1)
    return Splits(
        name=dataset_name.replace("/", "-"),
        train=image_set(source, members, decoder),
        validation=image_set(source, carved, decoder),
        test=image_set(reported, range(len(reported)), decoder),
        class_names=tuple(str(item) for item in classes),
        image_size=image_size,
        mirror="mnist" not in dataset_name.lower(),
        fingerprint=fingerprint_of([dataset_name, str(labels), str(len(reported))]),
        unreadable=decoder.unreadable,
        notes=tuple(notes),
        reading=reading_rules(),
    )


def _carve(source: TimmSource, reported: TimmSource) -> tuple[list[int], list[int], list[str]]:
    """Train and selecting part without images that the reported part has too, and a note."""
    _refuse_pipes([*source.files(), *reported.files()])
    ours = [image_file(Path(name)) or ImageFile(Path(name)) for name in source.files()]
    theirs = [image_file(Path(name)) or ImageFile(Path(name)) for name in reported.files()]
    labels = source.labels()
    if not ours:  # no set of files
        return *stratified(labels, SELECTION_SHARE), []
    refuse_shared_files([ours, theirs])
    refuse_two_classes(ours, labels)
    twins = shared_copies(ours, theirs)
    kept = [index for index in range(len(ours)) if index not in twins]
    pairs = [(ours[index].path, twin) for index, twin in twins.items()]
    notes = [copies_words(pairs, len(ours) + len(theirs))] if pairs else []
    members, chosen = carve([ours[i] for i in kept], [labels[i] for i in kept])
    return [kept[i] for i in members], [kept[i] for i in chosen], notes


def _refuse_pipes(files: Sequence[str]) -> None:
    """UsageError at a file whose opening may wait without end."""
    for name in files:
        if image_file(Path(name)) is None:
            raise UsageError(f"data: {name}: got a pipe, socket or device; allowed: an image file")


def _refuse_system_folders(source: TimmSource, name: str) -> None:
    """UsageError if timm takes a hidden folder, or one left by a system, for a class."""
    left = [own for own in source.class_to_index() or () if is_left_by_system(own)]
    if left:
        raise UsageError(
            f"data: {name}: {', '.join(left)} is no class; remove the folder, "
            "or name the data folder:PATH, which passes it over"
        )


def _raw_image(path: str) -> Image.Image:
    """The image as it lies in its file, for torchvision's sets, whose own loader converts it."""
    image = Image.open(path)
    image.load()
    return image


def _refuse_unlike(source: TimmSource, reported: TimmSource, name: str) -> None:
    """UsageError if the two share images, or number their classes differently."""
    shared = set(source.files()) & set(reported.files())
    if shared:
        raise UsageError(
            f"data: {name}: {len(shared)} images are in train and in validation alike, "
            f"{min(shared)} the first; allowed: a folder for each split"
        )
    ours, theirs = source.class_to_index(), reported.class_to_index()
    if ours != theirs:
        differing = sorted(set(ours or ()) ^ set(theirs or ()))
        raise UsageError(
            f"data: {name}: train and validation hold different classes: {', '.join(differing[:5])}"
        )


def _open(name: str, root: Path, split: str) -> TimmSource:
    family, _, own = name.lower().partition("/")
    if (own or family) in ("folder", "image_folder"):
        _refuse_unlistable(root)
    if family == "hfds" and find_spec("datasets") is None:
        raise EnvironmentProblem(f"data: timm:{name} needs the package datasets: {_INSTALL}")
    try:
        with redirect_stdout(sys.stderr):  # some readers print, and stdout is for --json
            dataset = create_dataset(name, root=str(root), split=split)
    except PermissionError:
        raise
    except ImportError as error:
        raise EnvironmentProblem(f"data: timm:{name} needs a package: {error}") from error
    except (RuntimeError, OSError, AssertionError, ValueError, KeyError) as error:
        raise UsageError(f"data: {_not_there(name, own, root, error)}") from error
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise UsageError(f"data: timm:{name} can only be iterated; allowed: sets with an index")
    if hasattr(dataset, "loader"):
        dataset.loader = _raw_image
    return TimmSource(dataset, split)


def _not_there(name: str, own: str, root: Path, error: Exception) -> str:
    """Why a set cannot be read; torchvision's own words would speak of downloading."""
    if own in TORCH_SETS and "download" in str(error):
        return (
            f"timm:{name} is not in {root}, or not whole; looked for {TORCH_SETS[own]} there; "
            f"nothing is downloaded: timm:{name}@ROOT names the folder that holds it"
        )
    return f"timm:{name} cannot be read from {root}: {str(error) or type(error).__name__}"


def _refuse_unlistable(root: Path) -> None:
    """PermissionError at the first folder that timm would silently pass over."""

    def refuse(error: OSError) -> None:
        if isinstance(error, PermissionError):
            raise error

    for _ in os.walk(root, onerror=refuse, followlinks=True):
        pass
