"""Sets of images, shared by all data sets: splitting, decoding, unreadable images."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from search.data._unreadable import Unreadable, why_unreadable
from search.data.pixels import square
from search.errors import EnvironmentProblem, UsageError

SPLIT_SEED = 0  # of its own, so that every study sees the same splits
SELECTION_SHARE = 0.15  # of train, if no split is there to select on
MAX_UNREADABLE = 0.01
MEMORY_BYTES = 1 << 30  # decoded images up to here stay in memory, larger sets are streamed
READERS = 8  # threads; decoding releases Python's lock
READING_ATTEMPTS = 3  # at an image that could be opened before
SECONDS_BETWEEN_ATTEMPTS = 1.0


class ImageSet(Protocol):
    """Labelled images, square and of one size."""

    def __len__(self) -> int: ...

    def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images (N, 3, S, S) uint8 and labels (N,) of those of the indices that can be read."""
        ...


@dataclass(frozen=True)
class Splits:
    """A data set: its three parts, its classes, and whether a mirrored image keeps its label.

    `unreadable` lists the images that had to be skipped so far. `notes` report what else of the
    data is not used, and why. `fingerprint` changes with the files or pixels. `reading` stands for
    the rules by which image files are read; it is empty if there are none.
    """

    name: str
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    image_size: int
    mirror: bool
    fingerprint: str
    unreadable: list[Unreadable] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    reading: str = ""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def identity(self) -> dict[str, object]:
        """Identity of the data, which a resumed study compares."""
        return {
            "classes": list(self.class_names),
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
            "fingerprint": self.fingerprint,
            **({"reading": self.reading} if self.reading else {}),
        }


def fingerprint_of(parts: Iterable[str | bytes]) -> str:
    """16 hexadecimal digits that stand for these parts in this order."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.encode("utf-8", "surrogateescape"))
        digest.update(b"\0")
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class ImagesInMemory:
    """(N, 3, S, S) uint8 images and their labels (N,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return self.images[chosen], self.labels[chosen]


class Source(Protocol):
    """Source of single images; several threads may read it at once."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[Image.Image, int]:
        """An RGB image, read by the rules of `pixels`, and its label."""

    def label(self, index: int) -> int: ...

    def check(self, index: int) -> None:
        """Raises if the image cannot even be opened; cheaper than reading it."""

    def name(self, index: int) -> str: ...


class Decoder:
    """Reads images of one data set at one size, and keeps the account of what is unreadable.

    `total` is how many images the data set has.
    """

    def __init__(self, image_size: int, total: int) -> None:
        self.image_size = image_size
        self.total = total
        self.unreadable: list[Unreadable] = []

    def decode(
        self, source: Source, indices: Sequence[int], *, checked: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Images and labels of those that can be read; UsageError when too many cannot.

        EnvironmentProblem if one may not be read: another user's data set would differ; and
        if the system does not give one that was `checked`, in several attempts: one candidate
        would learn from fewer images than others.
        """
        with ThreadPoolExecutor(READERS) as pool:
            results = list(
                pool.map(lambda index: self._decode_one(source, index, checked), indices)
            )
        self._account([result for result in results if isinstance(result, Unreadable)])
        read = [result for result in results if not isinstance(result, Unreadable)]
        if not read:
            side = self.image_size
            return torch.empty(0, 3, side, side, dtype=torch.uint8), torch.empty(0).long()
        return torch.stack([image for image, _ in read]), torch.tensor([label for _, label in read])

    def check(self, source: Source, indices: Sequence[int]) -> None:
        """Opens each image; UsageError when too many cannot be."""
        with ThreadPoolExecutor(READERS) as pool:
            problems = list(pool.map(lambda index: self._problem(source, index), indices))
        self._account([problem for problem in problems if problem is not None])

    def _account(self, problems: Sequence[Unreadable]) -> None:
        known = {item.name for item in self.unreadable}
        self.unreadable += [item for item in problems if item.name not in known]
        if len(self.unreadable) > MAX_UNREADABLE * self.total:
            raise UsageError(too_many_unreadable(self.unreadable, self.total))

    def _problem(self, source: Source, index: int) -> Unreadable | None:
        try:
            source.check(index)
        except PermissionError as error:
            raise _not_permitted(source, index) from error
        except Exception as error:  # noqa: BLE001  # what damaged files make Pillow raise
            return Unreadable(source.name(index), why_unreadable(error, source.name(index)))
        return None

    def _decode_one(
        self, source: Source, index: int, checked: bool
    ) -> tuple[Tensor, int] | Unreadable:
        for attempt in range(READING_ATTEMPTS):
            try:
                image, label = source.read(index)
                return to_tensor(image, self.image_size), label
            except PermissionError as error:
                raise _not_permitted(source, index) from error
            except Exception as error:  # noqa: BLE001  # what damaged files make Pillow raise
                of_the_system = isinstance(error, OSError) and error.errno is not None
                if not (checked and of_the_system):
                    name = source.name(index)
                    return Unreadable(name, why_unreadable(error, name))
                trouble = error
            if attempt + 1 < READING_ATTEMPTS:
                time.sleep(SECONDS_BETWEEN_ATTEMPTS)
        raise EnvironmentProblem(f"data: {source.name(index)}: {trouble}") from trouble


def _not_permitted(source: Source, index: int) -> EnvironmentProblem:
    return EnvironmentProblem(f"data: {source.name(index)}: permission denied")


@dataclass(frozen=True)
class ImagesStreamed:
    """Images that are decoded whenever they are fetched."""

    source: Source
    members: Sequence[int]
    decoder: Decoder

    def __len__(self) -> int:
        return len(self.members)

    def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        members = [self.members[index] for index in indices]
        return self.decoder.decode(self.source, members, checked=True)


def image_set(source: Source, members: Sequence[int], decoder: Decoder) -> ImageSet:
    """Those images of `source`, in memory if they fit."""
    if not members:
        raise UsageError("data: no images to select on; train needs 2 or more of some class")
    if len(members) * 3 * decoder.image_size**2 > MEMORY_BYTES:
        decoder.check(source, members)
        return ImagesStreamed(source, members, decoder)
    images, labels = decoder.decode(source, members)
    if not len(labels):
        raise UsageError(f"data: none of {len(members)} images can be read: {source.name(0)}, ...")
    return ImagesInMemory(images, labels)


def to_tensor(image: Image.Image, image_size: int) -> Tensor:
    """(3, S, S) uint8 of an RGB image: the square at its centre, resized to S, bilinear."""
    pixels = np.array(square(image, image_size))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def stratified(labels: Sequence[int], share: float) -> tuple[list[int], list[int]]:
    """Indices of two parts, the second with about `share` of each class; the same at every call.

    A class of one image stays in the first part.
    """
    generator = np.random.default_rng(SPLIT_SEED)
    first: list[int] = []
    second: list[int] = []
    array = np.asarray(labels)
    for label in np.unique(array):
        members = generator.permutation(np.flatnonzero(array == label))
        held = max(1, round(share * len(members))) if len(members) > 1 else 0
        second.extend(int(index) for index in members[:held])
        first.extend(int(index) for index in members[held:])
    return sorted(first), sorted(second)


def labels_of(images: ImageSet) -> Sequence[int]:
    """The labels of a set, without decoding an image."""
    if isinstance(images, ImagesInMemory):
        return [int(label) for label in images.labels]
    assert isinstance(images, ImagesStreamed)
    return [images.source.label(index) for index in images.members]


def unreadable_words(items: Sequence[Unreadable]) -> str:
    """That images were skipped, and which; empty if there are none."""
    if not items:
        return ""
    return f"skipped {len(items)} unreadable images: {_listed(items)}"


def too_many_unreadable(items: Sequence[Unreadable], total: int) -> str:
    return (
        f"data: {len(items)} of {total} images cannot be read; "
        f"allowed: one in a hundred: {_listed(items)}"
    )


def _listed(items: Sequence[Unreadable]) -> str:
    more = f" and {len(items) - 5} more" if len(items) > 5 else ""
    return ", ".join(str(item) for item in items[:5]) + more
