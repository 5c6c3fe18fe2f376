"""timm's dataset factory: `torch/cifar10`, `hfds/NAME` and the others that it knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from timm.data import create_dataset

from search.data.splits import SELECTION_SHARE, Decoder, Splits, image_set, stratified
from search.errors import EnvironmentProblem, UsageError

DEFAULT_ROOT = "data"


@dataclass(frozen=True)
class TimmSource:
    """One split of a timm data set that can be indexed."""

    dataset: Any
    split: str

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int) -> tuple[Image.Image, int]:
        image, label = self.dataset[index]
        return image, int(label)

    def name(self, index: int) -> str:
        return f"{self.split}[{index}]"

    def labels(self) -> Sequence[int]:
        targets = getattr(self.dataset, "targets", None)
        if targets is None:
            return [self.read(index)[1] for index in range(len(self))]
        return [int(label) for label in targets]


def load_timm(name: str, image_size: int) -> Splits:
    """timm's `NAME` or `NAME@ROOT`; ROOT is a folder that holds the data, `data` by default.

    Nothing is downloaded. The set's validation (or test) part is reported; the part that selects
    is carved from train. UsageError where the data are not there, EnvironmentProblem where timm
    needs a package that is not installed.
    """
    dataset_name, _, root = name.partition("@")
    folder = Path(root or DEFAULT_ROOT)
    source, reported = (_open(dataset_name, folder, split) for split in ("train", "validation"))
    labels = source.labels()
    members, carved = stratified(labels, SELECTION_SHARE)
    decoder = Decoder(image_size, len(source) + len(reported))
    classes = getattr(source.dataset, "classes", None) or range(max(labels) + 1)
    return Splits(
        name=dataset_name.replace("/", "-"),
        train=image_set(source, members, decoder),
        validation=image_set(source, carved, decoder),
        test=image_set(reported, range(len(reported)), decoder),
        class_names=tuple(str(item) for item in classes),
        image_size=image_size,
        mirror="mnist" not in dataset_name.lower(),
        unreadable=decoder.unreadable,
    )


def _open(name: str, root: Path, split: str) -> TimmSource:
    try:
        dataset = create_dataset(name, root=str(root), split=split)
    except ImportError as error:
        raise EnvironmentProblem(f"data: timm:{name} needs a package: {error}") from error
    except (RuntimeError, OSError, AssertionError, ValueError, KeyError) as error:
        raise UsageError(f"data: timm:{name} cannot be read from {root}: {error}") from error
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise UsageError(f"data: timm:{name} can only be iterated; allowed: sets with an index")
    return TimmSource(dataset, split)
