"""What the data sets share: sets of images, splitting, decoding, unreadable images."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from search.errors import EnvironmentProblem, UsageError

SPLIT_SEED = 0  # of its own, so that every study sees the same splits
SELECTION_SHARE = 0.15  # of train, where no split is there to select on
MAX_UNREADABLE = 0.01
MEMORY_BYTES = 1 << 30  # decoded images up to here stay in memory, larger sets are streamed
READERS = 8  # threads; decoding releases Python's lock
READING_ATTEMPTS = 3  # at an image that could be opened before
SECONDS_BETWEEN_ATTEMPTS = 1.0

_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)


class ImageSet(Protocol):
    """Labelled images, square and of one size."""

    def __len__(self) -> int: ...

    def fetch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Images (N, 3, S, S) uint8 and labels (N,) of those of the indices that can be read."""
        ...


@dataclass(frozen=True)
class Splits:
    """A data set: its three parts, its classes, and whether a mirrored image keeps its label.

    `unreadable` names the images that had to be skipped so far. `fingerprint` changes with the
    files or pixels.
    """

    name: str
    train: ImageSet
    validation: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    image_size: int
    mirror: bool
    fingerprint: str
    unreadable: list[str] = field(default_factory=list)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def identity(self) -> dict[str, object]:
        """What a study that goes on must find again."""
        return {
            "classes": list(self.class_names),
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
            "fingerprint": self.fingerprint,
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
    """Where images come from, one at a time; several threads read at once."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> tuple[Image.Image, int]: ...

    def check(self, index: int) -> None:
        """Raises where the image cannot even be opened; cheaper than reading it."""

    def name(self, index: int) -> str: ...


class Decoder:
    """Reads images of one data set at one size, and keeps the account of what is unreadable.

    `total` is how many images the data set has.
    """

    def __init__(self, image_size: int, total: int) -> None:
        self.image_size = image_size
        self.total = total
        self.unreadable: list[str] = []

    def decode(
        self, source: Source, indices: Sequence[int], *, checked: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Images and labels of those that can be read; UsageError when too many cannot.

        EnvironmentProblem where one may not be read: another user's data set would differ; and
        where the system does not give one that was `checked`, in several attempts: one candidate
        would learn from fewer images than others.
        """
        with ThreadPoolExecutor(READERS) as pool:
            results = list(
                pool.map(lambda index: self._decode_one(source, index, checked), indices)
            )
        self._account(source, indices, [result is not None for result in results])
        read = [result for result in results if result is not None]
        if not read:
            side = self.image_size
            return torch.empty(0, 3, side, side, dtype=torch.uint8), torch.empty(0).long()
        return torch.stack([image for image, _ in read]), torch.tensor([label for _, label in read])

    def check(self, source: Source, indices: Sequence[int]) -> None:
        """Opens each image; UsageError when too many cannot be."""
        with ThreadPoolExecutor(READERS) as pool:
            opened = list(pool.map(lambda index: self._opens(source, index), indices))
        self._account(source, indices, opened)

    def _account(self, source: Source, indices: Sequence[int], readable: Sequence[bool]) -> None:
        for index, good in zip(indices, readable, strict=True):
            if not good and source.name(index) not in self.unreadable:
                self.unreadable.append(source.name(index))
        if len(self.unreadable) > MAX_UNREADABLE * self.total:
            raise UsageError(too_many_unreadable(self.unreadable, self.total))

    def _opens(self, source: Source, index: int) -> bool:
        try:
            source.check(index)
        except PermissionError as error:
            raise _not_permitted(source, index) from error
        except _UNREADABLE:
            return False
        return True

    def _decode_one(self, source: Source, index: int, checked: bool) -> tuple[Tensor, int] | None:
        for attempt in range(READING_ATTEMPTS):
            try:
                image, label = source.read(index)
                return to_tensor(image, self.image_size), label
            except PermissionError as error:
                raise _not_permitted(source, index) from error
            except _UNREADABLE as error:
                of_the_system = isinstance(error, OSError) and error.errno is not None
                if not (checked and of_the_system):
                    return None
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
    """Those images of `source`, in memory where they fit."""
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
    """(3, S, S) uint8: the square at the centre, resized to S, bilinear.

    16-bit greys are scaled to 8 bits; ValueError where the range of the values is not known.
    """
    if image.mode == "F":
        raise ValueError("pixels in floating point have no known range")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) / 257).clip(0, 255).round().astype(np.uint8))
    image = image.convert("RGB")
    width, height = image.size
    if (width, height) != (image_size, image_size):
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR, box=box)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


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


def unreadable_words(names: Sequence[str]) -> str:
    """That images were skipped, and which; empty where there are none."""
    return f"skipped {len(names)} unreadable images: {', '.join(names[:5])}" if names else ""


def too_many_unreadable(names: Sequence[str], total: int) -> str:
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return (
        f"data: {len(names)} of {total} images cannot be read; allowed: one in a hundred: {shown}"
    )
