from __future__ import annotations

import os
from pathlib import Path

import pytest
from image_folders import make, save
from PIL import Image

from search.data import Splits, load_data
from search.data._listing import PassedOver, images_in
from search.errors import UsageError


def load(root: Path) -> Splits:
    return load_data(f"folder:{root}", 8)


@pytest.mark.parametrize(
    "name", [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git", "$RECYCLE.BIN", "__pycache__"]
)
def test_folders_that_systems_leave_are_no_classes_and_are_not_read(
    tmp_path: Path, name: str
) -> None:
    make(tmp_path, {"train": 4, "test": 2})
    clean = load(tmp_path)
    for number, place in enumerate((".", "train", "test", "train/cat")):
        save(tmp_path / place / name / "x.png", 900 + number)
    data = load(tmp_path)
    assert data.identity() == clean.identity()
    assert clean.notes == ()
    (note,) = data.notes
    assert f"1 folder {name} in train/cat" in note
    assert f"1 folder {name} in test" in note


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", ".x.jpg"])
def test_files_that_systems_leave_are_no_images(tmp_path: Path, name: str) -> None:
    make(tmp_path, {"train": 4, "test": 2})
    clean = load(tmp_path).identity()
    for place in (".", "train", "train/cat"):
        (tmp_path / place / name).write_bytes(b"\0\5\x16\7")
    data = load(tmp_path)
    assert data.identity() == clean
    assert data.unreadable == []
    assert "in train/cat" in data.notes[0]


def test_what_is_passed_over_is_counted_by_extension_and_place(tmp_path: Path) -> None:
    make(tmp_path, {"train": 4, "test": 2})
    for name in (
        "train/cat/a.HEIC",
        "train/cat/b.heic",
        "train/cat/c.txt",
        "test/d.csv",
        "LICENSE",
    ):
        (tmp_path / name).write_text("x")
    (tmp_path / "unlabelled").mkdir()
    assert load(tmp_path).notes == (
        "not read: 1 folder unlabelled in ., 1 without extension in ., 1 .csv in test, "
        "2 .heic in train/cat, 1 .txt in train/cat",
    )


def test_no_images_of_a_class_says_what_lies_there_and_what_is_read(tmp_path: Path) -> None:
    make(tmp_path, {"train": 4, "test": 2})
    for file in (tmp_path / "test" / "dog").iterdir():
        file.rename(file.with_suffix(".heic"))
    words = r"no images of class dog in .*test/dog; there: 2 \.heic in test/dog; read: \.jpg, .*"
    with pytest.raises(UsageError, match=words):
        load(tmp_path)


def test_suffixes_are_read_in_any_case(tmp_path: Path) -> None:
    for number, name in enumerate(("a.JPG", "b.Jpeg", "c.jfif", "d.PNG", "e.jpe")):
        image = Image.new("RGB", (4, 4), (number, 0, 0))
        image.save(tmp_path / name, "PNG" if name.endswith("PNG") else "JPEG")
    assert len(images_in(tmp_path, PassedOver(tmp_path))) == 5


def test_linked_folders_are_read_and_a_loop_of_links_ends(tmp_path: Path) -> None:
    root = make(tmp_path / "data", {"train": 4, "test": 2})
    save(tmp_path / "elsewhere" / "deep" / "more.png", 500)
    (root / "train" / "cat" / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "train" / "cat" / "loop").symlink_to(root / "train" / "cat")
    save(tmp_path / "cow" / "1.png", 600)
    save(tmp_path / "cow" / "2.png", 601)
    (root / "train" / "cow").symlink_to(tmp_path / "cow")
    save(root / "test" / "cow" / "3.png", 602)
    data = load(root)
    assert data.class_names == ("cat", "cow", "dog")
    assert len(data.train) + len(data.validation) == 4 + 1 + 2 + 4
    assert "1 link loop to a folder read in train/cat" in data.notes[0]


def test_a_pipe_named_like_an_image_is_not_waited_for(tmp_path: Path) -> None:
    make(tmp_path, {"train": 4, "test": 2})
    os.mkfifo(tmp_path / "train" / "cat" / "x.png")
    data = load(tmp_path)
    assert data.unreadable == []
    assert "1 no file (a pipe, a socket or a device) in train/cat" in data.notes[0]
