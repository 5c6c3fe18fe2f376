from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from image_folders import make

from search.data import _splits as splits_module
from search.data import _timm_datasets as timm_datasets
from search.data import load_data
from search.errors import UsageError


def idx_files(root: Path, train: list[int], reported: list[int]) -> str:
    """MNIST's files with images of those labels, which torchvision reads for timm."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, labels in (("train", train), ("t10k", reported)):
        images = generator.integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
        for kind, magic, shape, content in (
            ("images-idx3", 2051, images.shape, images),
            ("labels-idx1", 2049, (len(labels),), np.array(labels, dtype=np.uint8)),
        ):
            header = struct.pack(f">{1 + len(shape)}I", magic, *shape)
            (raw / f"{name}-{kind}-ubyte").write_bytes(header + content.tobytes())
    return f"timm:torch/mnist@{root}"


ALL = [*range(10)] * 4


@pytest.mark.parametrize(
    ("train", "reported", "words"),
    [
        ([3] * 20, [3] * 5, "the part that teaches .* has no readable image of 9 classes: 0"),
        (ALL, [0, 1] * 5, "the reported part .* has no readable image of 8 classes: 2"),
        (ALL, [7] * 5, "the reported part .* has no readable image of 9 classes: 0"),
        ([0, 1, 2] * 8, ALL, "the part that teaches .* has no readable image of 7 classes: 3"),
        ([*ALL, 11], ALL, "label 11 in the train part; allowed: 0 to 9"),
        (ALL, [*ALL, 200], "label 200 in the test part; allowed: 0 to 9"),
    ],
)
def test_a_part_of_a_timm_set_without_all_classes_is_refused(
    tmp_path: Path, train: list[int], reported: list[int], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        load_data(idx_files(tmp_path, train, reported), 8)


@pytest.mark.parametrize("kind", ["folder", "torch/image_folder"])
def test_one_class_is_refused_of_timms_folders_too(tmp_path: Path, kind: str) -> None:
    make(tmp_path, {"train": 20, "validation": 3}, ("cat",))
    with pytest.raises(UsageError, match="has one class, cat; allowed: 2 or more"):
        load_data(f"timm:{kind}@{tmp_path}", 8)


@pytest.mark.parametrize("kind", ["folder", "torch/image_folder"])
def test_a_class_that_only_train_holds_is_refused_of_timms_folders_too(
    tmp_path: Path, kind: str
) -> None:
    make(tmp_path, {"train": 9, "validation": 3}, ("ant", "cat", "dog"))
    shutil.rmtree(tmp_path / "validation" / "cat")
    with pytest.raises(UsageError, match="train and validation hold different classes: cat"):
        load_data(f"timm:{kind}@{tmp_path}", 8)


@pytest.mark.parametrize("kind", ["folder", "torch/image_folder"])
def test_a_hidden_folder_is_no_class_of_timms_folders(tmp_path: Path, kind: str) -> None:
    make(tmp_path, {"train": 9, "validation": 3}, (".ipynb_checkpoints", "cat", "dog"))
    with pytest.raises(UsageError, match=r"\.ipynb_checkpoints is no class; remove .*folder:PATH"):
        load_data(f"timm:{kind}@{tmp_path}", 8)


@pytest.mark.parametrize("memory", [0, splits_module.MEMORY_BYTES])
def test_classes_too_small_to_select_by_are_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(splits_module, "MEMORY_BYTES", memory)
    make(tmp_path, {"train": 9, "test": 2}, ("ant", "cat", "dog"))
    for index in range(1, 9):
        (tmp_path / "train" / "ant" / f"{index}.png").unlink()
    (note,) = load_data(f"folder:{tmp_path}", 8).notes
    assert note.startswith("the part that selects (validation, or carved from train) has no image")
    assert "of 1 class: ant:" in note


def test_a_selecting_part_of_one_class_is_refused(tmp_path: Path) -> None:
    make(tmp_path, {"train": 9, "test": 2})
    for index in range(1, 9):
        (tmp_path / "train" / "dog" / f"{index}.png").unlink()
    with pytest.raises(UsageError, match="has images of 1 of 2 classes; allowed: 2 or more"):
        load_data(f"folder:{tmp_path}", 8)


def test_a_class_whose_images_are_all_unreadable_is_missing(tmp_path: Path) -> None:
    make(tmp_path, {"train": 100, "val": 9, "test": 1})
    (tmp_path / "test" / "dog" / "0.png").write_bytes(b"x")
    with pytest.raises(UsageError, match="the reported part .* no readable image of 1 class: dog"):
        load_data(f"folder:{tmp_path}", 8)


def test_a_label_that_is_no_number_is_named() -> None:
    class Unlabelled:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> tuple[str, object]:
            return "x.png", None

    with pytest.raises(UsageError, match=r"train\[0\]: label None is no class"):
        timm_datasets.TimmSource(Unlabelled(), "train").labels()
