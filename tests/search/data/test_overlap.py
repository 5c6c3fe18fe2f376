from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from image_folders import make, save

from search.data import Splits, load_data
from search.data import _splits as splits_module
from search.data._listing import ImageFile, image_file
from search.data._overlap import carve, shared_copies
from search.errors import UsageError


def load(root: Path) -> Splits:
    return load_data(f"folder:{root}", 8)


def pixels(part: object) -> set[bytes]:
    images, _ = part.fetch(range(len(part)))  # type: ignore[attr-defined, arg-type]
    return {image.numpy().tobytes() for image in images}


def soft(source: Path, target: Path) -> None:
    target.symlink_to(source)


def hard(source: Path, target: Path) -> None:
    os.link(source, target)


def through_a_folder(source: Path, target: Path) -> None:
    target.with_suffix("").symlink_to(source.parent)


@pytest.mark.parametrize("link", [soft, hard, through_a_folder])
@pytest.mark.parametrize("splits", [("train", "test"), ("train", "val"), ("val", "test")])
def test_a_file_reached_in_two_splits_is_refused_naming_both_paths(
    tmp_path: Path, link: object, splits: tuple[str, str]
) -> None:
    make(tmp_path, {"train": 4, "val": 3, "test": 2})
    first, second = splits
    link(tmp_path / first / "cat" / "0.png", tmp_path / second / "cat" / "linked.png")  # type: ignore[operator]
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    words = str(caught.value)
    assert f"{tmp_path / first / 'cat' / '0.png'} and {tmp_path / second / 'cat'}/linked" in words
    assert "are one file, reached by links; allowed: each image in one of train" in words


def test_a_class_folder_that_is_linked_from_another_split_is_refused(tmp_path: Path) -> None:
    make(tmp_path, {"train": 4, "test": 2})
    shutil.rmtree(tmp_path / "test" / "dog")
    (tmp_path / "test" / "dog").symlink_to(tmp_path / "train" / "dog")
    with pytest.raises(UsageError, match=r"and 3 more pairs\) are one file, reached by links"):
        load(tmp_path)


def test_a_file_in_two_classes_is_refused(tmp_path: Path) -> None:
    make(tmp_path, {"train": 4, "test": 2})
    soft(tmp_path / "train" / "cat" / "0.png", tmp_path / "train" / "dog" / "x.png")
    with pytest.raises(UsageError, match=r"cat/0.png and .*dog/x.png are one file in two classes"):
        load(tmp_path)


def test_a_few_copies_are_left_out_of_what_teaches_and_named(tmp_path: Path) -> None:
    make(tmp_path, {"train": 200, "val": 4, "test": 4})
    before = load(tmp_path)
    shutil.copy(tmp_path / "test" / "cat" / "0.png", tmp_path / "train" / "cat" / "copy.png")
    shutil.copy(tmp_path / "test" / "cat" / "1.png", tmp_path / "val" / "cat" / "copy.png")
    data = load(tmp_path)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [400, 8, 8]
    assert data.identity() == before.identity()
    (note,) = data.notes
    assert "train/cat/copy.png and " in note
    assert "(and 1 more pairs) are byte-identical; the first is left out, 2 images in all" in note


def test_many_copies_are_refused_naming_a_pair(tmp_path: Path) -> None:
    make(tmp_path, {"train": 4, "test": 2})
    shutil.copy(tmp_path / "test" / "cat" / "0.png", tmp_path / "train" / "dog" / "copy.png")
    with pytest.raises(UsageError, match=r"dog/copy.png and .*test/cat/0.png are byte-identical"):
        load(tmp_path)


@pytest.mark.parametrize("copy", [soft, hard, shutil.copy])
def test_copies_within_train_stay_on_one_side_of_what_is_carved(
    tmp_path: Path, copy: object
) -> None:
    make(tmp_path, {"train": 20, "test": 2})
    for index in range(20):
        for again in range(3):
            source = tmp_path / "train" / "cat" / f"{index}.png"
            copy(source, source.with_name(f"{index}-{again}.png"))  # type: ignore[operator]
    data = load(tmp_path)
    assert len(data.train) + len(data.validation) == 100
    assert not pixels(data.train) & pixels(data.validation)


def test_without_copies_the_carved_parts_are_what_they_were(tmp_path: Path) -> None:
    make(tmp_path, {"train": 20})
    files = [image_file(path) for path in sorted(tmp_path.rglob("*.png"))]
    labels = [0] * 20 + [1] * 20
    assert carve([f for f in files if f], labels) == splits_module.stratified(labels, 0.15)


def test_copies_are_told_from_files_that_agree_in_size_and_in_their_middle(tmp_path: Path) -> None:
    def written(name: str, content: bytes) -> ImageFile:
        (tmp_path / name).write_bytes(content)
        file = image_file(tmp_path / name)
        assert file is not None
        return file

    body = bytes(20000)
    theirs = [written("a", b"a" + body), written("b", b"b" + body), written("empty", b"")]
    ours = [written("c", b"c" + body), written("b2", b"b" + body), written("empty2", b"")]
    assert shared_copies(ours, theirs) == {1: tmp_path / "b"}


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_every_usual_name_of_the_validation_folder_is_used_next_to_test(
    tmp_path: Path, name: str
) -> None:
    make(tmp_path, {"train": 6, name: 3, "test": 2})
    data = load(tmp_path)
    assert (len(data.train), len(data.validation), len(data.test)) == (12, 6, 4)


@pytest.mark.parametrize(
    "names", [("val", "valid"), ("validation", "valid"), ("validation", "val")]
)
def test_two_validation_folders_are_refused_naming_both(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    make(tmp_path, {"train": 6, names[0]: 3, names[1]: 2, "test": 2})
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    assert all(str(tmp_path / name) in str(caught.value) for name in names)


@pytest.mark.parametrize("kind", ["folder", "torch/image_folder"])
@pytest.mark.parametrize("link", [soft, hard])
def test_links_between_splits_of_timms_folders_are_refused_too(
    tmp_path: Path, kind: str, link: object
) -> None:
    make(tmp_path, {"train": 8, "validation": 3})
    link(tmp_path / "train" / "cat" / "0.png", tmp_path / "validation" / "cat" / "x.png")  # type: ignore[operator]
    with pytest.raises(UsageError, match="are one file, reached by links"):
        load_data(f"timm:{kind}@{tmp_path}", 8)


def test_copies_between_splits_of_timms_folders_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, {"train": 100, "validation": 3})
    shutil.copy(tmp_path / "validation" / "cat" / "0.png", tmp_path / "train" / "cat" / "x.png")
    data = load_data(f"timm:folder@{tmp_path}", 8)
    assert len(data.train) + len(data.validation) == 200
    assert "x.png and " in data.notes[0]


def test_an_image_behind_a_broken_link_is_named(tmp_path: Path) -> None:
    make(tmp_path, {"train": 100, "test": 2})
    soft(tmp_path / "gone.png", tmp_path / "train" / "cat" / "x.png")
    soft(tmp_path / "train" / "cat" / "y.png", tmp_path / "train" / "cat" / "y.png")
    save(tmp_path / "train" / "dog" / "more.png", 999)
    data = load(tmp_path)
    assert [item.reason for item in data.unreadable] == [
        "link to a file that is not there",
        "Too many levels of symbolic links",
    ]
