"""The record of a candidate whose code raised: its state, its reason, and the mixer at fault."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from consent import agree

from metaformer import build_backbone
from metaformer.spec import BackboneSpec
from metaformer.spec_yaml import load_spec
from mixers import load_registry
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.storage.records import Record, TrialRecord, TrialState
from search.workers.run_task import attempt

SPEC = """\
schema: 1
name: t
num_classes: 3
image_size: 16
stem: {kernel_size: 2, stride: 2, norm: batch_norm}
stages:
  - {depth: 2, width: 8, block: metanext, mixer: [pooling, local/mine], norm: batch_norm}
head: {norm: layer_norm}
"""
SOURCE = """\
from torch import nn


class Mine(nn.Module):
    def __init__(self, site):
        super().__init__()

    def forward(self, x):
        STATEMENT
        return x
"""


def outcome_of(
    statement: str, error: BaseException | None = None
) -> tuple[TrialRecord, str | None]:
    """Run a network in which the mixer executes a statement, then raise the exception."""
    Path("mine.py").write_text(SOURCE.replace("STATEMENT", statement), encoding="utf-8")
    Path("plugins.toml").write_text('schema = 1\n[local]\nmine = "mine.py:Mine"\n', "utf-8")
    Path("t.yaml").write_text(SPEC, encoding="utf-8")
    agree()
    registry = load_registry()
    spec = load_spec("t.yaml", registry)

    def run(spec: BackboneSpec, record: Record) -> None:
        build_backbone(spec, registry)(torch.zeros(2, 3, 16, 16))
        if error is not None:
            raise error
        record.state = TrialState.COMPLETE

    record = TrialRecord(number=7, state=TrialState.REJECTED)
    _weights, trace = attempt(run, spec, record, registry)
    return record, trace


@pytest.mark.parametrize(
    "statement", ["{}['k']", "raise SystemExit(0)", "raise KeyboardInterrupt", "x.nothing"]
)
def test_what_a_mixer_raises_is_the_mixers(statement: str) -> None:
    record, trace = outcome_of(statement)
    assert (record.state, record.mixer_at_fault) == (TrialState.FAILED, "local/mine")
    assert record.reason.startswith("stages[0].mixer[1]: local/mine of local ")
    assert f"mine.py:9 in forward: {statement}" in record.reason
    assert trace is not None
    assert trace.startswith("Traceback")


def test_what_no_mixer_raised_is_no_mixers() -> None:
    record, trace = outcome_of("pass", KeyError("k"))
    assert (record.state, record.mixer_at_fault) == (TrialState.FAILED, None)
    assert record.reason == "KeyError: 'k'"
    assert trace is not None
    assert trace.endswith("KeyError: 'k'\n")


def test_an_interruption_is_no_failure() -> None:
    record, trace = outcome_of("pass", Interrupted())
    assert (record.state, record.mixer_at_fault, trace) == (TrialState.INTERRUPTED, None, None)


@pytest.mark.parametrize(
    "error", [UsageError("data"), EnvironmentProblem("disk"), SystemExit(1), KeyboardInterrupt()]
)
def test_what_ends_the_study_passes_through(error: BaseException) -> None:
    with pytest.raises(type(error)):
        outcome_of("pass", error)


def test_success_is_the_records() -> None:
    record, trace = outcome_of("pass")
    assert (record.state, record.mixer_at_fault, trace) == (TrialState.COMPLETE, None, None)
