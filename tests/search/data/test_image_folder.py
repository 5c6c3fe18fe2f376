from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_folders import make, save
from PIL import Image

from search.data import _splits as splits_module
from search.data import load_data
from search.errors import EnvironmentProblem, UsageError


def pixels(part: object) -> set[bytes]:
    images, _ = part.fetch(range(len(part)))  # type: ignore[attr-defined, arg-type]
    return {image.numpy().tobytes() for image in images}


@pytest.mark.parametrize("name", ["validation", "val"])
def test_three_folders_are_three_splits(tmp_path: Path, name: str) -> None:
    make(tmp_path, {"train": 6, name: 3, "test": 2})
    data = load_data(f"folder:{tmp_path}", 8)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 6, 4)
    assert data.class_names == ("cat", "dog")
    assert data.mirror


@pytest.mark.parametrize("held", ["validation", "val", "test"])
def test_with_two_folders_the_selecting_part_is_carved_from_train(
    tmp_path: Path, held: str
) -> None:
    make(tmp_path, {"train": 20, held: 3})
    data = load_data(f"folder:{tmp_path}", 8)
    assert (len(data.train), len(data.validation), len(data.test)) == (34, 6, 6)
    train, selecting, reported = (pixels(p) for p in (data.train, data.validation, data.test))
    assert len(train | selecting) == 40
    assert not train & selecting
    assert not reported & (train | selecting)


def test_images_are_resized_by_their_shorter_side_and_cut_in_the_middle(tmp_path: Path) -> None:
    make(tmp_path, {"train": 2, "test": 1})
    wide = np.zeros((10, 30, 3), dtype=np.uint8)
    wide[:, 10:20] = 255
    Image.fromarray(wide).save(tmp_path / "test" / "cat" / "0.png")
    images, labels = load_data(f"folder:{tmp_path}", 10).test.fetch([0])
    assert labels.tolist() == [0]
    assert images.float().mean() == 255


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_colour_mode_becomes_three_channels(tmp_path: Path, mode: str) -> None:
    make(tmp_path, {"train": 2, "test": 1})
    (tmp_path / "train" / "cat" / "0.png").unlink()
    suffix = ".jpg" if mode == "CMYK" else ".png"
    save(tmp_path / "train" / "cat" / f"0{suffix}", 5, mode=mode)
    images, _ = load_data(f"folder:{tmp_path}", 8).train.fetch([0])
    assert images.shape == (1, 3, 8, 8)


def test_unreadable_images_are_skipped_counted_and_named(tmp_path: Path) -> None:
    make(tmp_path, {"train": 150, "validation": 2, "test": 2})
    bad = tmp_path / "train" / "dog" / "7.png"
    bad.write_bytes(bad.read_bytes()[:60])
    data = load_data(f"folder:{tmp_path}", 8)
    assert len(data.train) == 299
    assert [item.name for item in data.unreadable] == [str(bad)]


def test_more_than_one_unreadable_image_in_a_hundred_is_refused_naming_them(tmp_path: Path) -> None:
    make(tmp_path, {"train": 50, "validation": 2, "test": 2})
    for index in range(2):
        (tmp_path / "train" / "cat" / f"{index}.png").write_bytes(b"not an image")
    with pytest.raises(
        UsageError,
        match=r"2 of 108 images cannot be read; .*cat/0.png \(not an image.*, .*cat/1.png",
    ):
        load_data(f"folder:{tmp_path}", 8)


@pytest.mark.parametrize(
    ("make_folder", "words"),
    [
        (lambda root: None, r"needs a folder train .*folders there: none"),
        (lambda root: make(root, {"train": 2}), r"needs a folder train and one of .*there: train"),
        (lambda root: make(root, {"test": 2}), r"needs a folder train"),
        (lambda root: make(root, {"train": 2, "test": 2}, ("cat",)), r"holds 1 class folders"),
        (
            lambda root: (make(root, {"train": 2, "test": 2}) / "train" / "empty").mkdir(),
            r"no images of class empty in .*train/empty",
        ),
        (
            lambda root: save(make(root, {"train": 2, "test": 2}) / "test" / "cow" / "1.png", 1),
            r"test holds classes that train lacks: cow",
        ),
        (
            lambda root: [
                file.unlink()
                for file in (make(root, {"train": 2, "test": 1}) / "test" / "dog").iterdir()
            ],
            r"no images of class dog in .*test/dog",
        ),
    ],
)
def test_a_folder_that_cannot_be_used_is_named_with_what_it_lacks(
    tmp_path: Path, make_folder: object, words: str
) -> None:
    make_folder(tmp_path)  # type: ignore[operator]
    with pytest.raises(UsageError, match=words):
        load_data(f"folder:{tmp_path}", 8)


def test_a_name_that_cannot_be_read_is_refused_as_data() -> None:
    with pytest.raises(UsageError, match="^data: got 'folder:nowhere'; no such folder: nowhere"):
        load_data("folder:nowhere", 8)


def refusing(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, but for paths that end in `name`: they may not be read."""

    def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
        if str(path).endswith(name):
            raise PermissionError(13, "Permission denied", str(path))
        return function(path, *arguments, **options)

    return refuse


@pytest.mark.parametrize("place", ["", "train", "train/dog", "train/dog/deeper"])
def test_a_folder_that_may_not_be_read_is_not_said_to_be_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    make(tmp_path, {"train": 4, "test": 2})
    (tmp_path / "train" / "dog" / "deeper").mkdir()
    hidden = str(tmp_path / place)
    monkeypatch.setattr(os, "scandir", refusing(hidden, os.scandir))
    if not place:
        monkeypatch.setattr(os, "stat", refusing("/train", os.stat))
        hidden += "/train"
    with pytest.raises(EnvironmentProblem, match=f"^data: {hidden}: permission denied$"):
        load_data(f"folder:{tmp_path}", 8)


@pytest.mark.parametrize("memory", [0, splits_module.MEMORY_BYTES])
def test_an_image_that_may_not_be_read_is_not_said_to_be_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    make(tmp_path, {"train": 150, "validation": 2, "test": 2})
    monkeypatch.setattr(splits_module, "MEMORY_BYTES", memory)
    monkeypatch.setattr(Image, "open", refusing("dog/7.png", Image.open))
    with pytest.raises(EnvironmentProblem, match=r"^data: .*/dog/7.png: permission denied$"):
        load_data(f"folder:{tmp_path}", 8)


def test_a_folder_named_like_an_image_is_none(tmp_path: Path) -> None:
    make(tmp_path, {"train": 4, "test": 2})
    (tmp_path / "train" / "cat" / "more.png").mkdir()
    assert load_data(f"folder:{tmp_path}", 8).unreadable == []


def test_a_set_beyond_the_memory_cap_is_streamed_with_the_same_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, {"train": 150, "validation": 3, "test": 2})
    in_memory = load_data(f"folder:{tmp_path}", 8)
    monkeypatch.setattr(splits_module, "MEMORY_BYTES", 0)
    streamed = load_data(f"folder:{tmp_path}", 8)
    assert isinstance(streamed.train, splits_module.ImagesStreamed)
    ours, theirs = streamed.train.fetch([5, 0, 9]), in_memory.train.fetch([5, 0, 9])
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


def test_an_unreadable_image_of_a_streamed_set_is_left_out_of_its_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, {"train": 150, "validation": 3, "test": 2})
    bad = tmp_path / "train" / "cat" / "1.png"
    bad.write_bytes(b"")
    monkeypatch.setattr(splits_module, "MEMORY_BYTES", 0)
    data = load_data(f"folder:{tmp_path}", 8)
    index = sorted(file.name for file in bad.parent.iterdir()).index("1.png")
    images, labels = data.train.fetch([index, index + 1])
    assert len(images) == len(labels) == 1
    data.train.fetch([index])
    assert [item.name for item in data.unreadable] == [str(bad)]


@pytest.mark.parametrize("failures", [1, splits_module.READING_ATTEMPTS])
def test_an_error_of_the_system_while_streaming_drops_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    make(tmp_path, {"train": 150, "validation": 3, "test": 2})
    monkeypatch.setattr(splits_module, "MEMORY_BYTES", 0)
    monkeypatch.setattr(splits_module, "SECONDS_BETWEEN_ATTEMPTS", 0.0)
    data = load_data(f"folder:{tmp_path}", 8)
    left = [OSError(errno.EIO, "Input/output error")] * failures
    real = Image.open

    def fail(*arguments: Any, **options: Any) -> Any:
        if left:
            raise left.pop()
        return real(*arguments, **options)

    monkeypatch.setattr(Image, "open", fail)
    if failures < splits_module.READING_ATTEMPTS:
        assert len(data.train.fetch([0])[0]) == 1
    else:
        with pytest.raises(EnvironmentProblem, match=r"^data: .*png: .*Input/output error"):
            data.train.fetch([0])
    assert data.unreadable == []


def test_stratified_parts_hold_every_class_and_share_no_index() -> None:
    labels = [0] * 100 + [1] * 10 + [2] * 2 + [3]
    first, second = splits_module.stratified(labels, 0.15)
    assert sorted(first + second) == list(range(len(labels)))
    assert [sum(labels[i] == c for i in second) for c in range(4)] == [15, 2, 1, 0]


def test_one_folder_under_two_names_is_refused(tmp_path: Path) -> None:
    make(tmp_path, {"train": 4, "test": 2})
    (tmp_path / "val").symlink_to(tmp_path / "test")
    with pytest.raises(UsageError, match="are the same folder"):
        load_data(f"folder:{tmp_path}", 8)


def test_a_very_thin_image_costs_no_more_than_its_middle(tmp_path: Path) -> None:
    make(tmp_path, {"train": 2, "test": 1})
    Image.new("RGB", (60000, 1), "white").save(tmp_path / "test" / "cat" / "0.png")
    images, _ = load_data(f"folder:{tmp_path}", 224).test.fetch([0])
    assert images.float().mean() == 255


def test_sixteen_bit_greys_keep_their_steps(tmp_path: Path) -> None:
    make(tmp_path, {"train": 2, "test": 1})
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "test" / "cat" / "0.png")
    images, _ = load_data(f"folder:{tmp_path}", 16).test.fetch([0])
    assert torch.equal(images[0, 0].flatten(), torch.arange(256, dtype=torch.uint8))


def test_a_class_of_one_image_each_leaves_nothing_to_select_on(tmp_path: Path) -> None:
    make(tmp_path, {"train": 1, "test": 1})
    with pytest.raises(UsageError, match="no images to select on; train needs 2 or more"):
        load_data(f"folder:{tmp_path}", 8)


def test_files_that_are_no_images_are_found_before_a_large_set_is_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits_module, "MEMORY_BYTES", 1)
    make(tmp_path, {"train": 10, "validation": 2, "test": 2})
    (tmp_path / "test" / "cat" / "0.png").write_bytes(b"x")
    with pytest.raises(UsageError, match="1 of 28 images cannot be read"):
        load_data(f"folder:{tmp_path}", 8)


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    make(tmp_path, {"train": 4, "test": 2})
    before = load_data(f"folder:{tmp_path}", 8).identity()
    assert load_data(f"folder:{tmp_path}", 8).identity() == before
    save(tmp_path / "train" / "cat" / "0.png", 99, size=(20, 20))
    after = load_data(f"folder:{tmp_path}", 8).identity()
    assert after != before
    assert {**after, "fingerprint": before["fingerprint"]} == before
