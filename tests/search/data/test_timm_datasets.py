from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from search.data import _timm_datasets as timm_datasets
from search.data import load_data
from search.errors import EnvironmentProblem, UsageError


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """scikit-learn's digits in the files of MNIST, which torchvision reads for timm."""
    digits = sklearn.datasets.load_digits()
    pixels = np.kron(digits.images, np.ones((3, 3))).astype(np.uint8)[:, :, :] * 15
    padded = np.zeros((len(pixels), 28, 28), dtype=np.uint8)
    padded[:, 2:26, 2:26] = pixels
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, part in (("train", slice(0, 1500)), ("t10k", slice(1500, None))):
        images, labels = padded[part], digits.target[part].astype(np.uint8)
        header = struct.pack(">IIII", 2051, len(images), 28, 28)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = struct.pack(">II", 2049, len(labels))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())
        for kind in ("images-idx3", "labels-idx1"):
            file = raw / f"{name}-{kind}-ubyte"
            Path(f"{file}.gz").write_bytes(gzip.compress(file.read_bytes()))
    return tmp_path


def test_a_torchvision_set_comes_through_timms_factory(mnist: Path) -> None:
    data = load_data(f"timm:torch/mnist@{mnist}", 32)
    assert (len(data.train) + len(data.validation), len(data.test)) == (1500, 297)
    assert data.num_classes == 10
    assert not data.mirror
    images, labels = data.train.fetch([0, 1])
    assert images.shape == (2, 3, 32, 32)
    assert labels.shape == (2,)
    assert data.name == "torch-mnist"


def test_data_that_are_not_there_say_where_they_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_data(f"timm:torch/cifar10@{tmp_path}", 32)
    assert str(caught.value) == (
        f"data: timm:torch/cifar10 is not in {tmp_path}, or not whole; looked for "
        "cifar-10-batches-py there; nothing is downloaded: timm:torch/cifar10@ROOT names the "
        "folder that holds it"
    )
    with pytest.raises(UsageError, match=f"timm:folder cannot be read from {tmp_path}: Found 0"):
        load_data(f"timm:folder@{tmp_path}", 32)


def test_what_a_reader_prints_does_not_reach_the_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def create(*_: object, **__: object) -> None:
        print("Please install something")
        raise ImportError("No module named 'something'")

    monkeypatch.setattr(timm_datasets, "create_dataset", create)
    with pytest.raises(EnvironmentProblem, match="needs a package: No module named 'something'"):
        load_data(f"timm:torch/mnist@{tmp_path}", 32)
    assert capsys.readouterr().out == ""


def test_the_package_of_hugging_faces_sets_is_asked_for_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timm_datasets, "find_spec", lambda _name: None)
    with pytest.raises(EnvironmentProblem) as caught:
        load_data("timm:hfds/some/one", 32)
    words = "data: timm:hfds/some/one needs the package datasets: it is not installed"
    assert str(caught.value) == f"{words}; pip install datasets"
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["folder", "torch/image_folder"])
def test_a_folder_that_timm_would_pass_over_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    class_folders(tmp_path, "train", "ab")
    class_folders(tmp_path, "validation", "ab", count=3)
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("train/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(EnvironmentProblem, match=r"^data: .*/train/b: permission denied$"):
        load_data(f"timm:{kind}@{tmp_path}", 8)


def class_folders(root: Path, split: str, classes: str, count: int = 8) -> None:
    for place, name in enumerate(classes):
        folder = root / split / name
        folder.mkdir(parents=True)
        for index in range(count):
            colour = (20 * place, 10 * index, len(split))
            Image.new("RGB", (8, 8), colour).save(folder / f"{index}.png")


@pytest.mark.parametrize("kind", ["folder", "torch/image_folder"])
def test_class_folders_come_through_timms_factory_too(tmp_path: Path, kind: str) -> None:
    class_folders(tmp_path, "train", "ab")
    class_folders(tmp_path, "validation", "ab", count=3)
    data = load_data(f"timm:{kind}@{tmp_path}", 8)
    assert (len(data.train) + len(data.validation), len(data.test)) == (16, 6)
    assert data.class_names == ("a", "b")


@pytest.mark.parametrize("kind", ["folder", "torch/image_folder"])
def test_splits_that_share_images_or_differ_in_classes_are_refused(
    tmp_path: Path, kind: str
) -> None:
    class_folders(tmp_path / "one", "", "ab")
    with pytest.raises(UsageError, match="16 images are in train and in validation alike"):
        load_data(f"timm:{kind}@{tmp_path / 'one'}", 8)
    class_folders(tmp_path / "two", "train", "bc")
    class_folders(tmp_path / "two", "validation", "abc")
    with pytest.raises(UsageError, match="train and validation hold different classes: a"):
        load_data(f"timm:{kind}@{tmp_path / 'two'}", 8)


def test_an_unreadable_image_is_not_answered_by_its_neighbour(tmp_path: Path) -> None:
    class_folders(tmp_path, "train", "ab")
    class_folders(tmp_path, "validation", "ab")
    (tmp_path / "train" / "a" / "3.png").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"1 of 32 images cannot be read.*a/3.png"):
        load_data(f"timm:folder@{tmp_path}", 8)
