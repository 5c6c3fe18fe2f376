from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from metaformer import load_spec
from mixers import MixerRegistry
from search.storage.records import TrialRecord, TrialState
from search.storage.run_folder import RunFolder, write_atomically


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "study")
    folder.create()
    return folder


def spec_data(width: int) -> dict[str, Any]:
    stage = {"depth": 1, "width": width, "block": "metanext", "mixer": "pooling", "norm": "none"}
    return {"schema": 1, "name": "x", "stem": {"kernel_size": 2, "stride": 2}, "stages": [stage]}


def record(number: int, width: int = 8) -> TrialRecord:
    return TrialRecord(
        number=number, state=TrialState.COMPLETE, spec=spec_data(width), digest=f"d{number}"
    )


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"w": torch.full((3,), value)}


def kept_value(folder: RunFolder) -> float:
    with safe_open(folder.best_weights, framework="pt") as file:
        return float(file.get_tensor("w")[0])


def test_the_files_are_those_of_the_contract(folder: RunFolder) -> None:
    names = {path.name for path in vars(folder).values() if path != folder.path}
    assert names == {
        "study.yaml",
        "journal.log",
        "trials.jsonl",
        "baselines.jsonl",
        "best.yaml",
        "best.safetensors",
        "summary.json",
        "errors.log",
        "study.lock",
        "checkpoints",
        "weights",
    }


def test_the_best_gets_spec_and_weights_of_one_trial(
    folder: RunFolder, registry: MixerRegistry
) -> None:
    folder.keep_weights(0, "d0", weights(0))
    assert folder.settle_best([record(0, width=8)])
    folder.keep_weights(1, "d1", weights(1))
    assert folder.settle_best([record(1, width=12)])
    assert load_spec(folder.best_spec, registry).stages[0].width == 12
    assert kept_value(folder) == 1
    assert sorted(path.name for path in folder.path.iterdir()) == ["best.safetensors", "best.yaml"]


def test_weights_of_a_trial_that_is_not_the_best_are_cleared(folder: RunFolder) -> None:
    folder.keep_weights(0, "d0", weights(0))
    folder.settle_best([record(0)])
    folder.keep_weights(1, "d1", weights(1))
    folder.settle_best([record(0)])
    assert kept_value(folder) == 0
    assert not list(folder.path.glob("trial-*"))


def test_a_death_between_record_and_promotion_is_made_good(folder: RunFolder) -> None:
    folder.keep_weights(0, "d0", weights(0))
    folder.settle_best([record(0)])
    folder.keep_weights(1, "d1", weights(1))
    # here the process dies; the next one finds trial 1 on record as the best
    assert folder.settle_best([record(1)])
    assert kept_value(folder) == 1


def test_missing_or_torn_weights_are_noticed(folder: RunFolder) -> None:
    assert not folder.settle_best([record(0)])
    folder.keep_weights(0, "d0", weights(0))
    folder.settle_best([record(0)])
    folder.best_weights.write_bytes(folder.best_weights.read_bytes()[:20])
    assert not folder.settle_best([record(0)])


def test_writing_replaces_a_file_whole(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_atomically(file, "one")
    write_atomically(file, "two")
    assert file.read_text() == "two"
    assert list(tmp_path.iterdir()) == [file]


def test_a_torn_last_line_of_the_trials_is_left_out(folder: RunFolder) -> None:
    folder.append_trial(record(0))
    folder.append_trial(record(1))
    folder.trials.write_bytes(folder.trials.read_bytes()[:-4])
    assert [line["number"] for line in folder.read_trials()] == [0]
    json.dumps(folder.read_trials())


def test_tensors_that_share_memory_are_kept_each(
    folder: RunFolder, registry: MixerRegistry
) -> None:
    tied = torch.ones(3)
    folder.keep_weights(0, "d0", {"w": tied, "v": tied})
    assert folder.settle_best([record(0)])
    assert kept_value(folder) == 1.0


def test_weights_of_another_backbone_are_not_taken_for_the_best(folder: RunFolder) -> None:
    folder.keep_weights(0, "d0", weights(1.0))
    folder.settle_best([record(0)])
    another = dataclasses.replace(record(0), digest="e0")
    assert not folder.holds(another)
    folder.keep_weights(0, "e0", weights(2.0))
    assert folder.settle_best([another])
    assert kept_value(folder) == 2.0


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    write_atomically(tmp_path / "file", "old")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "file", b"new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]


def test_the_weights_of_those_that_may_become_the_best_are_kept(folder: RunFolder) -> None:
    for number in range(3):
        folder.keep_weights(number, f"d{number}", weights(number))
    assert folder.settle_best([record(1), record(0)])
    assert kept_value(folder) == 1
    assert [path.name for path in folder.path.glob("trial-*")] == ["trial-0.safetensors"]
    folder.keep_weights(3, "d3", weights(3))
    assert folder.settle_best([record(3), record(1)])  # what was the best is the next best
    assert kept_value(folder) == 3
    assert [path.name for path in folder.path.glob("trial-*")] == ["trial-1.safetensors"]
    assert folder.settle_best([record(1)])
    assert kept_value(folder) == 1


def test_weights_that_others_inherit_are_those_of_a_best_that_is_gone(folder: RunFolder) -> None:
    folder.keep_inheritable("d0", weights(7))
    assert folder.settle_best([record(0)])
    assert kept_value(folder) == 7
