"""The Python API: callbacks, results of studies that exist, any module measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from studies import Heard
from tiny import STUDY, write_study
from torch import nn

import search
from search.errors import UsageError
from search.storage.progress import Callbacks
from search.throughput import Verdict

LITTLE = STUDY.replace("{train: 1}", "{params: 100000}").replace("trials: 3", "trials: 1")


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).mean((2, 3))


@pytest.mark.slow
def test_a_study_runs_resumes_and_is_exported(tmp_path: Path) -> None:
    first, second = Heard(), search.Callback()
    result = search.run(write_study(LITTLE), callbacks=[first, second], device="cpu")
    assert result.summary["outcome"] == "done"
    assert result.best is not None
    assert [record.number for record in result.trials] == [result.best.number]
    assert result.front == ()
    assert [record.number for record in first.finished] == [result.best.number]
    again = search.run(write_study(LITTLE), device="cpu")
    assert again.best is not None
    assert again.best.digest == result.best.digest
    assert result.model()(torch.zeros(1, 3, 8, 8)).shape == (1, 10)
    place = result.export("timm", tmp_path / "out")
    assert (place / "config.json").is_file()
    with pytest.raises(UsageError, match="is there already"):
        result.export("timm", tmp_path / "out")
    with pytest.raises(UsageError, match="to: got 'tar'; allowed: folder, onnx, timm"):
        result.export("tar", tmp_path / "tar")  # type: ignore[arg-type]


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no study.yaml"):
        search.load_result(tmp_path)


def test_each_callback_is_called_in_order() -> None:
    calls: list[tuple[str, object]] = []

    class Named(search.Callback):
        def __init__(self, name: str) -> None:
            self.name = name

        def note(self, text: str) -> None:
            calls.append((self.name, text))

        def trial_started(self, number: int, done: int, total: int) -> None:
            calls.append((self.name, (number, done, total)))

    both = Callbacks([Named("a"), Named("b")])
    both.note("x")
    both.trial_started(1, 0, 2)
    both.phase("train", 1)
    assert calls == [("a", "x"), ("b", "x"), ("a", (1, 0, 2)), ("b", (1, 0, 2))]


def test_any_module_is_measured() -> None:
    protocol = search.MeasurementProtocol(mode="infer", batch_size=2, image_size=8, max_seconds=0.5)
    found = search.measure(Small(), protocol, budget=1e-3)
    assert found.images_per_second > 0
    assert found.verdict in (Verdict.PASS, Verdict.CONTAMINATED)
    with pytest.raises(ValueError, match="budget: got -1"):
        search.measure(Small(), protocol, budget=-1)


@pytest.mark.parametrize("study", [None, {"budget": {"train": 1}}, 7])
def test_what_is_no_study_is_refused(study: object) -> None:
    with pytest.raises(UsageError, match="study: got .*; allowed: a study file, or a Study of"):
        search.run(study)  # type: ignore[arg-type]


def test_the_name_of_a_device_is_checked() -> None:
    with pytest.raises(UsageError, match="device: got 'gpu'; allowed: auto, cpu, cuda"):
        search.measure(Small(), device="gpu")
