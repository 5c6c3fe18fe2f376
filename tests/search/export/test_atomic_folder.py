"""An export is there as a whole or not at all, and never in the place of something else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from search.errors import UsageError
from search.export.atomic_folder import placed, require_free


def test_what_was_filled_takes_its_place_and_nothing_lies_beside() -> None:
    with placed(Path("there"), force=False) as filling:
        (filling / "model.onnx").write_text("whole")
        assert not Path("there").exists()
    assert Path("there/model.onnx").read_text() == "whole"
    assert os.listdir() == ["there"]


def test_an_error_leaves_nothing_and_keeps_what_was_there() -> None:
    Path("there").mkdir()
    Path("there/model.onnx").write_text("before")
    with pytest.raises(OSError, match="disk"):
        _fill_half(Path("there"))
    assert Path("there/model.onnx").read_text() == "before"
    assert os.listdir() == ["there"]


def _fill_half(place: Path) -> None:
    with placed(place, force=True) as filling:
        (filling / "model.onnx").write_text("half")
        raise OSError("the disk is full")


def test_force_replaces_an_earlier_export_whole() -> None:
    Path("there").mkdir()
    Path("there/config.json").touch()
    with placed(Path("there"), force=True) as filling:
        (filling / "model.onnx").touch()
    assert os.listdir("there") == ["model.onnx"]
    assert os.listdir() == ["there"]


def test_an_earlier_export_is_replaced_under_force_only() -> None:
    Path("there").mkdir()
    with pytest.raises(UsageError, match="--out there: is there already; --force replaces it"):
        require_free(Path("there"), force=False)


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_export_is_never_replaced(force: bool) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").touch()
    Path("file").touch()
    Path("link").symlink_to("mine")
    with pytest.raises(UsageError, match=r"other things is there, such as thesis.tex"):
        require_free(Path("mine"), force=force)
    for name in ("file", "link"):
        with pytest.raises(UsageError, match=f"--out {name}: a file is there"):
            require_free(Path(name), force=force)


def test_a_folder_around_it_that_is_missing_is_answered_with_the_nearest() -> None:
    Path("exports").mkdir()
    with pytest.raises(UsageError, match=r"no such folder: .*did you mean .*/exports\?"):
        require_free(Path("exprots/mine"), force=False)
