from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from small_training import CPU

from search.training._checkpoint import CheckpointProblem, load_state, save_state


def test_tensors_and_plain_values_come_back_bit_by_bit(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "state.pt"
    state = {"a": torch.randn(3, 4), "b": [1, 2.5, "x", None], "c": {0: torch.ones(2).half()}}
    save_state(file, state, "mine")
    back = load_state(file, "mine", CPU)
    assert back is not None
    assert torch.equal(back["a"], state["a"])
    assert back["b"] == state["b"]
    assert back["c"][0].dtype == torch.float16


def test_where_there_is_no_file_there_is_no_state(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state.pt", "mine", CPU) is None


def test_a_write_that_fails_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "state.pt"
    save_state(file, {"epoch": 1}, "mine")

    def full(_source: object, _target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        save_state(file, {"epoch": 2}, "mine")
    assert load_state(file, "mine", CPU) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [file]


class Runs:
    """What must not be run when a checkpoint is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made",)


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    torch.save({"schema": 1, "identity": "mine", "state": Runs()}, file)
    with pytest.raises(CheckpointProblem, match="no checkpoint that can be read"):
        load_state(file, "mine", CPU)
    assert not Path("made").exists()


@pytest.mark.parametrize("length", [0, 1, 100, 700])
def test_a_torn_file_is_told(tmp_path: Path, length: int) -> None:
    file = tmp_path / "state.pt"
    save_state(file, {"a": torch.ones(10)}, "mine")
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CheckpointProblem, match="state.pt: no checkpoint that can be read"):
        load_state(file, "mine", CPU)


def test_another_identity_or_version_is_told(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    save_state(file, {}, "mine")
    with pytest.raises(CheckpointProblem, match="is of another training"):
        load_state(file, "yours", CPU)
    torch.save({"schema": 0}, file)
    with pytest.raises(CheckpointProblem, match="no checkpoint of this version"):
        load_state(file, "mine", CPU)
