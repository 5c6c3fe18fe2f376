"""Trials beyond the first look at a candidate: trained further, inherited from, measured again."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from studies import Evaluate, Heard, runner
from tiny import STUDY, write_study
from torch import Tensor

from metaformer import BackboneSpec
from mixers import MixerRegistry
from search.config.load import load_study
from search.errors import Interrupted
from search.evaluation.evaluator import CandidateEvaluator
from search.storage.records import TrialRecord, TrialState
from search.storage.run_folder import RunFolder
from search.storage.trial_store import TrialStore

EPOCHS = 4
HALVED = {"train": {"epochs": EPOCHS}, "search": {"trials": 6, "halving": 2}}


def accuracy_of(spec: BackboneSpec) -> float:
    return int(spec.digest[:6], 16) / 16**6


def train(spec: BackboneSpec, record: TrialRecord) -> dict[str, Tensor] | None:
    """Scores grow with the epochs, the better candidate ahead at each."""
    epochs = record.epochs or EPOCHS
    scores = [accuracy_of(spec) * (epoch + 1) / EPOCHS for epoch in range(epochs)]
    record.score = {"value": scores[-1], "epochs": epochs, "by_epoch": scores}
    record.state = TrialState.COMPLETE if epochs == EPOCHS else TrialState.PRUNED
    record.constraints["throughput.train"] = -0.1
    return {"weight": torch.tensor([scores[-1]])} if epochs == EPOCHS else None


@pytest.fixture(autouse=True)
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def passes(_self: object, spec: BackboneSpec, record: TrialRecord) -> None:
        record.spec, record.digest = spec.to_data(), spec.digest
        record.state = TrialState.COMPLETE

    monkeypatch.setattr(CandidateEvaluator, "measure_only", passes)
    monkeypatch.setattr("search.study.loop.SearchLoop.test_best", lambda _self: 0.5)


def lines() -> list[TrialRecord]:
    text = Path("runs/tiny/trials.jsonl").read_text()
    return [TrialRecord.from_data(json.loads(line)) for line in text.splitlines()]


def epochs_by_digest(records: list[TrialRecord]) -> dict[str, list[int]]:
    found = defaultdict(list)
    for record in records:
        if record.score is not None:
            found[str(record.digest)].append(record.score["epochs"])
    return dict(found)


def test_all_candidates_train_a_little_and_the_better_ones_go_on_rung_by_rung(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(train)
    summary = runner(registry, **HALVED).run()
    assert summary["outcome"] == "done"
    assert summary["trials"]["counted"] == 6
    trained = epochs_by_digest(lines())
    assert len(trained) == 6
    assert all(rungs == [1, 2, 4][: len(rungs)] for rungs in trained.values())
    assert sorted(map(len, trained.values()), reverse=True) == [3, 2, 2, 1, 1, 1]
    best = max(trained, key=lambda digest: int(digest[:6], 16))
    assert trained[best] == [1, 2, 4]
    assert summary["best"]["digest"] == best
    by_number = {record.number: record for record in lines()}
    for record in by_number.values():
        if record.continues is not None:
            earlier = by_number[record.continues]
            assert earlier.digest == record.digest
            assert earlier.state is TrialState.PRUNED
            assert record.constraints == earlier.constraints


def test_a_candidate_that_was_interrupted_on_its_way_up_goes_on_from_where_it_was(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    stopped: list[int] = []

    def stop_at_first_promotion(spec: BackboneSpec, record: TrialRecord) -> object:
        if record.continues is not None and not stopped:
            stopped.append(record.number)
            raise Interrupted
        return train(spec, record)

    evaluate_by(stop_at_first_promotion)  # type: ignore[arg-type]
    first = runner(registry, should_stop=lambda: bool(stopped), **HALVED).run()
    assert first["outcome"] == "interrupted"
    evaluate_by(train)
    summary = runner(registry, **HALVED).run()
    assert summary["outcome"] == "done"
    assert summary["trials"]["counted"] == 6
    assert sorted(map(len, epochs_by_digest(lines()).values())) == [1, 1, 1, 2, 2, 3]


def test_a_duplicate_that_waits_beside_a_promotion_begins_no_candidate_beyond_the_total(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    new: list[str] = []

    def count(spec: BackboneSpec, record: TrialRecord) -> dict[str, Tensor] | None:
        new.extend([spec.digest] if record.continues is None else [])
        return train(spec, record)

    evaluate_by(count)
    runner(registry, should_stop=lambda: len(new) == 6, **HALVED).run()
    store = TrialStore("tiny", RunFolder(Path("runs/tiny")))
    store.study.enqueue_trial(store.params()[0])
    evaluate_by(train)
    assert runner(registry, **HALVED).run()["trials"]["counted"] == 6


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (TrialState.REJECTED, "missed its budget"),
        (TrialState.FAILED, "ended as FAILED"),
        (TrialState.OOM, "ended as OOM"),
        (TrialState.TIMEOUT, "ended as TIMEOUT"),
    ],
)
def test_the_best_is_measured_again_and_where_that_fails_the_next_one_takes_its_place(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    monkeypatch: pytest.MonkeyPatch,
    state: TrialState,
    words: str,
) -> None:
    judged: list[str] = []

    def fail_once(_self: object, spec: BackboneSpec, record: TrialRecord) -> None:
        record.state = TrialState.COMPLETE if judged else state
        record.reason = "" if judged else "why not"
        judged.append(spec.digest)

    evaluate_by(train)
    monkeypatch.setattr(CandidateEvaluator, "measure_only", fail_once)
    heard = Heard()
    summary = runner(registry, heard=heard).run()
    ranked = sorted({str(r.digest) for r in lines() if r.confirms is None}, reverse=True)
    assert judged == ranked[:2]
    assert summary["best"]["digest"] == ranked[1]
    assert summary["best"]["confirmed"]
    (refuted,) = summary["refuted"]
    again = refuted["measured_again"]
    assert (refuted["digest"], again["state"], again["reason"]) == (ranked[0], state, "why not")
    storage = TrialStore("tiny", RunFolder(Path("runs/tiny")))
    assert storage.study.best_trial.number == summary["best"]["trial"]
    assert summary["trials"]["by_state"] == {"COMPLETE": 3}
    said = f"{words} when it was measured again: why not"
    assert any(note.endswith(said) for note in heard.notes)
    assert not any("training it again" in note for note in heard.notes)  # its weights were kept
    assert [path.name for path in Path("runs/tiny").glob("*.safetensors")] == ["best.safetensors"]
    runner(registry).run()  # once confirmed, it is not measured a third time
    assert len(judged) == 2


@pytest.mark.parametrize("trials", [3, 4])
def test_a_measurement_again_that_a_killed_process_left_waiting_is_made_and_counts_for_nothing(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    monkeypatch: pytest.MonkeyPatch,
    trials: int,
) -> None:
    judged: list[str] = []

    def judge(_self: object, spec: BackboneSpec, record: TrialRecord) -> None:
        record.spec, record.digest, record.state = spec.to_data(), spec.digest, TrialState.COMPLETE
        judged.append(spec.digest)

    evaluate_by(train)
    monkeypatch.setattr(CandidateEvaluator, "measure_only", judge)
    with monkeypatch.context() as patched:
        patched.setattr("search.study.loop.SearchLoop.confirm_best", lambda _self: None)
        best = runner(registry).run()["best"]
    store = TrialStore("tiny", RunFolder(Path("runs/tiny")))
    store.enqueue_confirmation(best["trial"])  # here its process dies
    summary = runner(registry, search={"trials": trials}).run()
    assert judged[0] == best["digest"]
    assert summary["trials"]["counted"] == trials
    tried = [record.digest for record in lines() if record.counts]
    assert len(set(tried)) == len(tried) == trials


def test_a_candidate_begins_with_the_weights_of_the_nearest_that_was_trained(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(train)
    runner(registry, train={"epochs": EPOCHS, "inherit": True}).run()
    first, *others = [record for record in lines() if record.confirms is None]
    assert first.inherited is None
    kept = {path.stem for path in Path("runs/tiny/weights").iterdir()}
    for record in others:
        assert record.inherited is not None
        assert record.inherited["digest"] in kept
        assert record.inherited["trial"] < record.number


def test_a_budget_of_latency_alone_has_the_best_measured_again_too(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(train)
    text = STUDY.replace("{train: 1}", "{latency: 5}")
    study = load_study(write_study(text), {}, device="cpu")
    assert runner(registry, study=study).run()["best"]["confirmed"]
    assert [record.confirms is not None for record in lines()] == [False, False, False, True]


def test_without_a_budget_of_speed_nothing_is_measured_again(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(train)
    text = STUDY.replace("{train: 1}", "{params: 1000000}")
    study = load_study(write_study(text), {}, device="cpu")
    assert runner(registry, study=study).run()["best"]["confirmed"] is None
    assert all(record.confirms is None for record in lines())
