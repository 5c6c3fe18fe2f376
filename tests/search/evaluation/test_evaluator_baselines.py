"""Baselines go the way of a candidate."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from evaluating import BUDGET, FakeMeasure, evaluate, evaluate_baseline
from tiny import BASELINE, write_study
from torch import nn

from metaformer import BackboneSpec
from mixers import MixerRegistry
from search.data import Splits
from search.storage.records import TrialState
from search.throughput import Verdict

pytestmark = pytest.mark.usefixtures("endlessly_fast")


def test_a_baseline_is_trained_whichever_budgets_it_misses(
    registry: MixerRegistry, digits: Splits
) -> None:
    mine = str(write_study(BASELINE, "mine.yaml"))
    measure = FakeMeasure(Verdict.FAIL, Verdict.PASS, images_per_second=90)
    budget = {"train": BUDGET, "infer": 80, "params": 10}
    record = evaluate_baseline(registry, digits, measure, mine, budget=budget)
    assert [protocol.mode for protocol, _ in measure.asked] == ["train", "infer"]
    assert record.state is TrialState.COMPLETE
    assert record.reason.startswith("params: ")
    assert record.reason.endswith("; train: 90 of 100 images/s [89, 91], FAIL")
    assert record.within_budget is False
    assert record.accuracy is not None
    assert record.test_accuracy is not None


def test_a_baseline_is_that_candidate_trained_alike(
    registry: MixerRegistry, digits: Splits
) -> None:
    mine = str(write_study(BASELINE, "mine.yaml"))
    record = evaluate_baseline(registry, digits, FakeMeasure(Verdict.PASS), mine)
    assert record.spec is not None
    spec = BackboneSpec.model_validate(record.spec)
    trial, _ = evaluate(registry, digits, FakeMeasure(Verdict.PASS), spec=spec)
    assert (record.digest, record.params, record.macs) == (trial.digest, trial.params, trial.macs)
    assert record.accuracy == trial.accuracy
    assert record.within_budget is True


@pytest.mark.parametrize(
    ("name", "overrides", "verdict", "state", "words"),
    [
        ("mine.yaml", {}, Verdict.CONTAMINATED, "INTERRUPTED", "others compute on cpu"),
        ("mine.yaml", {"measure": {"batch_size": 10**6, "image_size": 2048}}, Verdict.PASS, "OOM",
         " GiB or more, cpu has "),
        ("big.yaml", {}, Verdict.PASS, "FAILED", "cannot be built: big.yaml:"),
    ],
)  # fmt: skip
def test_what_a_baseline_cannot_do_is_said_in_its_record(
    registry: MixerRegistry,
    digits: Splits,
    name: str,
    overrides: dict[str, Any],
    verdict: Verdict,
    state: str,
    words: str,
) -> None:
    write_study(BASELINE, "mine.yaml")
    write_study(
        BASELINE.replace("kernel_size: 2, stride: 2", "kernel_size: 9, stride: 9"), "big.yaml"
    )
    record = evaluate_baseline(registry, digits, FakeMeasure(verdict), name, **overrides)
    assert (record.state.value, record.within_budget) == (state, None)
    assert words in record.reason
    assert record.accuracy is None


def test_a_model_of_others_that_the_meta_device_cannot_hold_is_counted_on_the_real_one(
    registry: MixerRegistry, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AsksForValues(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.scale = torch.ones(1).item()
            self.head = nn.Linear(3 * 8 * 8, num_classes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(x.flatten(1)) * self.scale
            return logits

    monkeypatch.setattr("timm.create_model", lambda _name, num_classes: AsksForValues(num_classes))
    record = evaluate_baseline(
        registry, digits, FakeMeasure(Verdict.PASS), "timm:test_vit", budget={"params": 100}
    )
    assert record.state is TrialState.COMPLETE
    assert record.params == 3 * 8 * 8 * 10 + 10
    assert record.reason == "params: 1,930 of 100 allowed"
