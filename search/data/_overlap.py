"""Images that two parts of a data set share: one file reached twice, or byte-identical copies."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from search.data._listing import ImageFile
from search.data._splits import SELECTION_SHARE, stratified
from search.errors import UsageError

MAX_COPIES = 0.01  # of a data set's images: more of them are a mistake in its making
_READERS = 8
_PROBE_BYTES = 4096


def refuse_shared_files(parts: Sequence[Sequence[ImageFile]]) -> None:
    """UsageError, with both paths, if one file is reached in two of the parts."""
    pairs = []
    seen: dict[tuple[int, int], tuple[int, Path]] = {}
    for number, part in enumerate(parts):
        for file in part:
            if file.inode is None:
                continue
            first, path = seen.setdefault(file.inode, (number, file.path))
            if first != number:
                pairs.append((path, file.path))
    if pairs:
        raise UsageError(f"data: {_pairs_words(pairs)} are one file, reached by links; {_RULE}")


def refuse_two_classes(files: Sequence[ImageFile], labels: Sequence[int]) -> None:
    """UsageError, with both paths, if one file is reached in two classes."""
    seen: dict[tuple[int, int], tuple[int, Path]] = {}
    for file, label in zip(files, labels, strict=True):
        if file.inode is None:
            continue
        first, path = seen.setdefault(file.inode, (label, file.path))
        if first != label:
            raise UsageError(
                f"data: {path} and {file.path} are one file in two classes; "
                "allowed: one class for each image"
            )


def shared_copies(earlier: Sequence[ImageFile], later: Sequence[ImageFile]) -> dict[int, Path]:
    """Return the places in `earlier` of images that are in `later` too, each with its twin there.

    Two are the same if they are one file or their bytes agree. Only files of a size that occurs
    in both are opened, and read whole only if 4 KiB at their middle agree.
    """
    sizes = {file.size for file in earlier if file.size > 0} & {file.size for file in later}
    ours = [index for index, file in enumerate(earlier) if file.size in sizes]
    theirs = [file for file in later if file.size in sizes]
    with ThreadPoolExecutor(_READERS) as pool:
        probes = list(pool.map(lambda index: _probe(earlier[index]), ours))
        their_probes = list(pool.map(_probe, theirs))
        common = (set(probes) & set(their_probes)) - {None}
        ours = [index for index, probe in zip(ours, probes, strict=True) if probe in common]
        theirs = [f for f, probe in zip(theirs, their_probes, strict=True) if probe in common]
        digests = list(pool.map(lambda index: _digest(earlier[index]), ours))
        twins = dict(zip(pool.map(_digest, theirs), (f.path for f in theirs), strict=True))
    twins.pop(None, None)
    return {i: twins[own] for i, own in zip(ours, digests, strict=True) if own in twins}


def carve(files: Sequence[ImageFile], labels: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return places of the train and of the selecting part; copies are on the side of the first."""
    first = first_copies(files)
    single = [index for index in range(len(files)) if first[index] == index]
    _, chosen = stratified([labels[index] for index in single], SELECTION_SHARE)
    selecting = {single[place] for place in chosen}
    sides: tuple[list[int], list[int]] = ([], [])
    for index in range(len(files)):
        sides[first[index] in selecting].append(index)
    return sides


def first_copies(files: Sequence[ImageFile]) -> list[int]:
    """Return for each file the place of the first with the same bytes, often its own."""
    first = list(range(len(files)))
    sizes = Counter(file.size for file in files)
    places = [index for index, file in enumerate(files) if file.size > 0 and sizes[file.size] > 1]
    with ThreadPoolExecutor(_READERS) as pool:
        probes = list(pool.map(lambda index: _probe(files[index]), places))
        counts = Counter(probes)
        places = [i for i, own in zip(places, probes, strict=True) if own and counts[own] > 1]
        digests = pool.map(lambda index: _digest(files[index]), places)
        seen: dict[bytes, int] = {}
        for index, digest in zip(places, digests, strict=True):
            first[index] = seen.setdefault(digest, index) if digest else index
    return first


def copies_words(pairs: Sequence[tuple[Path, Path]], total: int) -> str:
    """Note on copies that are left out of the part which is further from the report.

    Raises:
        UsageError: if they are more than one in a hundred of `total` images.
    """
    words = f"{_pairs_words(pairs)} are byte-identical"
    if len(pairs) > MAX_COPIES * total:
        raise UsageError(f"data: {words}: {len(pairs)} of {total} images; {_RULE}")
    return f"{words}; the first is left out, {len(pairs)} images in all"


_RULE = "allowed: each image in one of train, validation and test"


def _pairs_words(pairs: Sequence[tuple[Path, Path]]) -> str:
    first = " and ".join(str(path) for path in pairs[0])
    return first + (f" (and {len(pairs) - 1} more pairs)" if len(pairs) > 1 else "")


def _probe(file: ImageFile) -> bytes | None:
    """The size and 4 KiB at the middle; None if it cannot be read, which decoding will report."""
    try:
        with open(file.path, "rb") as stream:
            stream.seek(max(0, file.size // 2 - _PROBE_BYTES // 2))
            middle = stream.read(_PROBE_BYTES)
    except OSError:
        return None
    return hashlib.blake2b(middle + str(file.size).encode(), digest_size=16).digest()


def _digest(file: ImageFile) -> bytes | None:
    try:
        with open(file.path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError:
        return None
