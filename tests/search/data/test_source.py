from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from search.data.source import TORCH_SETS, DataSource, read_source
from search.errors import UsageError

ALLOWED = "allowed: digits, folder:PATH, timm:NAME or timm:NAME@ROOT"


def words_for(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_source(text)
    return str(caught.value)


def test_each_form_is_read_with_its_folder_from_the_root_of_the_file_system() -> None:
    Path("pictures").mkdir()
    Path("data").mkdir()
    here = Path.cwd().resolve()
    assert read_source("digits") == DataSource("digits")
    assert str(read_source("folder:pictures")) == f"folder:{here}/pictures"
    assert str(read_source("timm:torch/MNIST@pictures")) == f"timm:torch/MNIST@{here}/pictures"
    assert str(read_source("timm:folder")) == "timm:folder"
    assert str(read_source("timm:hfds/some/one@cache")) == f"timm:hfds/some/one@{here}/cache"


def test_the_home_folder_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pictures").mkdir()
    root = (tmp_path / "pictures").resolve()
    assert str(read_source("folder:~/pictures")) == f"folder:{root}"
    assert str(read_source("timm:folder@~/pictures")) == f"timm:folder@{root}"
    assert words_for("~/pictures").endswith("; did you mean folder:~/pictures?")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("digts", "digits"),
        ("Digits", "digits"),
        ("digits:8", "digits"),
        ("cifar10", "timm:torch/cifar10"),
        ("CIFAR-10@/data", "timm:torch/cifar10@/data"),
        ("torch/cifar10", "timm:torch/cifar10"),
        ("foldr:pictures", "folder:pictures"),
        ("Folder:pictures", "folder:pictures"),
        ("tim:torch/mnist", "timm:torch/mnist"),
        ("pictures", "folder:pictures"),
        ("./pictures", "folder:./pictures"),
        ("./picture", "folder:pictures"),
    ],
)
def test_a_name_of_no_known_form_is_answered_by_the_nearest_one(text: str, meant: str) -> None:
    Path("pictures").mkdir()
    assert words_for(text) == f"got {text!r}; {ALLOWED}; did you mean {meant}?"


@pytest.mark.parametrize("text", ["folder:", "timm:", "", "/no/such/place"])
def test_where_nothing_is_near_the_forms_alone_are_listed(text: str) -> None:
    assert words_for(text) == f"got {text!r}; {ALLOWED}"


def test_a_folder_that_is_not_there_is_answered_by_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "images" / "pets").mkdir(parents=True)
    wrong = f"folder:{tmp_path}/image/pets"
    words = f"no such folder: {tmp_path}/image/pets; did you mean folder:{tmp_path}/images/pets?"
    assert words_for(wrong) == f"got {wrong!r}; {words}"
    assert words_for("folder:nowhere") == "got 'folder:nowhere'; no such folder: nowhere"
    assert words_for(f"timm:folder@{tmp_path}/images/pet").endswith(
        f"; did you mean timm:folder@{tmp_path}/images/pets?"
    )
    Path("pets.zip").touch()
    assert words_for("folder:pets.zip").endswith("; pets.zip is a file; allowed: a folder")


def test_a_set_that_timm_does_not_know_is_refused_with_those_that_it_does() -> None:
    words = words_for("timm:nothing@/tmp")
    assert words.startswith("got 'timm:nothing@/tmp'; timm knows no such set; allowed of timm: ")
    assert "folder, hfds/NAME, torch/NAME with one of cifar10, cifar100, " in words
    assert "did you mean" not in words
    assert words_for("timm:torch/cifar@/tmp").endswith("; did you mean timm:torch/cifar10@/tmp?")
    assert words_for("timm:cifar10").endswith("; did you mean timm:torch/cifar10?")
    assert words_for("timm:hfds/").startswith("got 'timm:hfds/'; timm knows no such set")


@pytest.mark.parametrize("family", ["tfds", "wds", "hfids"])
def test_sets_that_can_only_be_iterated_are_refused_as_such(family: str) -> None:
    words = f"sets of {family}/ can only be iterated; allowed of timm: folder, hfds/NAME"
    assert words in words_for(f"timm:{family}/mnist@/tmp")


def test_without_a_root_the_default_folder_must_be_there() -> None:
    words = "no folder data here to read it from; nothing is downloaded; "
    assert words in words_for("timm:torch/mnist")
    assert "allowed: timm:torch/mnist@ROOT" in words_for("timm:torch/mnist")


def test_a_folder_that_may_not_be_seen_is_not_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(path: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(PermissionError, match="hidden"):
        read_source("folder:/root/hidden")


def test_the_known_sets_of_torchvision_are_those_of_timm() -> None:
    from timm.data import dataset_factory

    code = Path(dataset_factory.__file__).read_text()
    assert set(dataset_factory._TORCH_BASIC_DS) <= set(TORCH_SETS)
    others = set(TORCH_SETS) - set(dataset_factory._TORCH_BASIC_DS)
    assert all(f"name == '{name}'" in code for name in others)
    assert code.count("name == '") == len(others)


def test_a_name_is_judged_without_torch_and_timm() -> None:
    code = (
        "import sys; from search.data import read_source; read_source('digits'); "
        "bad = {'torch', 'timm', 'numpy', 'PIL'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
