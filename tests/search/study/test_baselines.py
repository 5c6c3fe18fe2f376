"""Baselines of a study: once each, next to the trials and never among them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from studies import Evaluate, Heard, reject, runner
from tiny import BASELINE, write_study

from metaformer import BackboneSpec, SpecError, load_spec
from mixers import MixerRegistry
from search.config.load import load_study
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.evaluation.evaluator import CandidateEvaluator
from search.storage.records import BaselineRecord, TrialState
from search.storage.trial_store import MAX_ATTEMPTS
from search.study.fork import fork

TIMM = "timm:test_resnet"
Compare = Callable[[BaselineRecord], None]


def lines(file: str = "baselines.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("runs/tiny", file).read_text().splitlines()]


def asking(*names: str, trials: int = 3) -> dict[str, Any]:
    return {"search": {"trials": trials, "baselines": list(names)}}


@pytest.fixture
def compare_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Compare], list[str]]:
    """Puts a function in the place of measuring and training a baseline; the names it was asked."""

    def put(function: Compare) -> list[str]:
        asked: list[str] = []

        def compare(_self: CandidateEvaluator, record: BaselineRecord) -> None:
            asked.append(record.name)
            function(record)

        monkeypatch.setattr(CandidateEvaluator, "evaluate_baseline", compare)
        return asked

    return put


def done(record: BaselineRecord) -> None:
    record.state = TrialState.COMPLETE
    record.score = {"metric": "accuracy", "value": 1.0, "epochs": 1, "split": "validation"}


def test_files_and_timms_models_are_measured_and_trained_as_candidates_are(
    registry: MixerRegistry,
) -> None:
    mine = str(write_study(BASELINE, "mine.yaml").resolve())
    heard = Heard()
    summary = runner(registry, heard=heard, **asking(mine, TIMM, trials=1)).run()
    first, second = lines()
    trial, *_confirmation = lines("trials.jsonl")
    assert list(first) == ["name", *list(trial)[1:-1], "test_accuracy", "checksum"]
    for record in (first, second):
        assert record["state"] == "COMPLETE"
        for key in ("batch_size", "image_size", "precision", "mode", "alpha", "margin"):
            assert record["measurements"][0][key] == trial["measurements"][0][key]
        assert record["score"]["epochs"] == trial["score"]["epochs"]
        assert len(record["score"]["by_epoch"]) == 1
        assert 0 < record["test_accuracy"] <= 1
    own = load_spec(mine, registry)
    said = BackboneSpec.model_validate(first["spec"])
    assert (said.num_classes, said.image_size) == (10, 8)
    assert said.stages == own.stages
    assert first["mixers"][0]["name"] == "pooling"
    assert second["spec"] is None
    assert second["params"] < 1_000_000
    told = summary["baselines"]
    assert [one["name"] for one in told] == [mine, TIMM]
    assert told[1]["throughput"]["train"]["verdict"] == "PASS"
    assert told[1]["within_budget"]
    assert told[1]["test_accuracy"] == second["test_accuracy"]
    assert [record.name for record in heard.baselines] == [mine, TIMM]


def test_they_come_first_and_change_nothing_about_the_trials(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    compare_by: Callable[[Compare], list[str]],
) -> None:
    evaluate_by(reject)
    without = runner(registry).run()
    Path("runs/tiny").rename("runs/without")
    order: list[str] = []

    def evaluate(spec: BackboneSpec, record: Any) -> None:
        order.append("trial")
        reject(spec, record)

    def compare(record: BaselineRecord) -> None:
        order.append(record.name)
        done(record)

    evaluate_by(evaluate)
    compare_by(compare)
    summary = runner(registry, **asking("a_name", trials=3)).run()
    assert order == ["a_name", "trial", "trial", "trial"]
    assert summary["best"] is None
    assert not summary["feasible"]
    assert summary["trials"] == without["trials"]
    tried = [line["digest"] for line in lines("trials.jsonl")]
    before = Path("runs/without/trials.jsonl").read_text().splitlines()
    assert tried == [json.loads(line)["digest"] for line in before]


@pytest.fixture(autouse=True)
def _any_name_is_known(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "compare_by" in request.fixturenames:
        monkeypatch.setattr(
            "search.study._baselines.read_model_source", lambda *_: SimpleNamespace(spec=None)
        )


def test_one_that_misses_the_budget_is_trained_all_the_same(registry: MixerRegistry) -> None:
    mine = str(write_study(BASELINE, "mine.yaml").resolve())
    summary = runner(registry, budget={"params": 10, "macs": 10}, **asking(mine)).run()
    (told,) = summary["baselines"]
    assert told["state"] == "COMPLETE"
    assert told["within_budget"] is False
    assert told["validation_accuracy"] > 0
    assert "params: " in told["reason"]
    assert "; macs: " in told["reason"]
    assert not summary["feasible"]
    assert summary["trials"]["by_state"] == {"REJECTED": 3}


def test_each_is_evaluated_once_and_another_list_adds_what_is_missing(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    compare_by: Callable[[Compare], list[str]],
) -> None:
    evaluate_by(reject)
    asked = compare_by(done)
    runner(registry, **asking("a", "b")).run()
    assert asked == ["a", "b"]
    summary = runner(registry, **asking("c", "a", trials=4)).run()
    assert asked == ["a", "b", "c"]
    assert [one["name"] for one in summary["baselines"]] == ["a", "b", "c"]
    assert summary["trials"]["counted"] == 4
    assert [one["name"] for one in runner(registry).run()["baselines"]] == ["a", "b", "c"]
    assert asked == ["a", "b", "c"]
    assert load_study("runs/tiny/study.yaml", {}, device="cpu").config.search.baselines == (
        "a",
        "b",
        "c",
    )


def test_one_that_fails_is_on_record_with_its_reason_and_the_study_goes_on(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    compare_by: Callable[[Compare], list[str]],
) -> None:
    def fail(_record: BaselineRecord) -> None:
        raise AssertionError("Input height (8) doesn't match model (160).")

    evaluate_by(reject)
    asked = compare_by(fail)
    summary = runner(registry, **asking("a")).run()
    (told,) = summary["baselines"]
    assert told["state"] == "FAILED"
    assert told["within_budget"] is None
    assert told["reason"] == "AssertionError: Input height (8) doesn't match model (160)."
    assert Path("runs/tiny/errors.log").read_text().startswith("baseline a\nTraceback")
    assert summary["trials"]["counted"] == 3
    runner(registry).run()
    assert asked == ["a"]


def test_one_whose_process_dies_is_tried_a_few_times_and_failed_then(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    compare_by: Callable[[Compare], list[str]],
) -> None:
    def die(record: BaselineRecord) -> None:
        record.state, record.reason = TrialState.LOST, "its process died: SIGKILL"

    evaluate_by(reject)
    asked = compare_by(die)
    summary = runner(registry, **asking("a")).run()
    assert asked == ["a"] * MAX_ATTEMPTS
    assert [line["state"] for line in lines()] == ["LOST", "LOST", "FAILED"]
    (told,) = summary["baselines"]
    assert told["reason"] == "its process died: SIGKILL, as 2 times before"
    assert summary["trials"]["counted"] == 3


def test_one_that_was_interrupted_is_tried_again_when_the_study_goes_on(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    compare_by: Callable[[Compare], list[str]],
) -> None:
    asked: list[str] = []

    def stop(_record: BaselineRecord) -> None:
        raise Interrupted

    evaluate_by(reject)
    asked = compare_by(stop)
    stopped = runner(registry, should_stop=lambda: bool(asked), **asking("a", "b")).run()
    assert stopped["outcome"] == "interrupted"
    assert stopped["trials"]["counted"] == 0
    assert stopped["baselines"][0]["state"] == "INTERRUPTED"
    assert asked == ["a"]
    asked = compare_by(done)
    summary = runner(registry).run()
    assert asked == ["a", "b"]
    assert [one["state"] for one in summary["baselines"]] == ["COMPLETE", "COMPLETE"]


def test_others_at_work_leave_a_baseline_for_another_time_and_the_study_goes_on(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    compare_by: Callable[[Compare], list[str]],
) -> None:
    def busy(record: BaselineRecord) -> None:
        record.state, record.reason = TrialState.INTERRUPTED, "train: no valid sample"

    evaluate_by(reject)
    compare_by(busy)
    summary = runner(registry, **asking("a")).run()
    assert summary["outcome"] == "done"
    assert summary["baselines"][0]["reason"] == "train: no valid sample"
    assert compare_by(done) == []
    assert runner(registry).run()["baselines"][0]["state"] == "COMPLETE"


def test_none_is_begun_after_the_time_limit(
    registry: MixerRegistry, compare_by: Callable[[Compare], list[str]]
) -> None:
    asked = compare_by(done)
    summary = runner(registry, **asking("a")).run(time_limit=0.0)
    assert summary["outcome"] == "time limit"
    assert asked == []


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("timm:resnet5", UsageError, "search.baselines: timm:resnet5: timm has no such model"),
        ("torchvision:resnet5", UsageError, "torchvision has no such model"),
        ("inceptionnext_x", SpecError, "neither a file nor a known backbone"),
    ],
)
def test_one_that_names_no_network_is_refused_before_anything_is_begun(
    registry: MixerRegistry, name: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        runner(registry, **asking(name)).run()
    assert not Path("runs").exists()


def test_a_line_that_was_torn_is_left_out_and_a_damaged_one_named(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    compare_by: Callable[[Compare], list[str]],
) -> None:
    evaluate_by(reject)
    compare_by(done)
    runner(registry, **asking("a")).run()
    file = Path("runs/tiny/baselines.jsonl")
    whole = file.read_text()
    file.write_text(whole + '{"name": "b", "sta')
    runner(registry).run()
    assert file.read_text() == whole
    file.write_text("[]\n" + whole)
    with pytest.raises(EnvironmentProblem, match="baselines.jsonl:1: is no record of a baseline"):
        runner(registry).run()


def test_a_fork_takes_them_along(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    compare_by: Callable[[Compare], list[str]],
) -> None:
    evaluate_by(reject)
    asked = compare_by(done)
    runner(registry, **asking("a")).run()
    old = load_study("runs/tiny/study.yaml", {}, device="cpu")
    wider = load_study(write_study(name="wider.yaml"), {"name": "wider"}, device="cpu")
    fork(old, Path("runs/tiny"), wider, Path("runs"), registry)
    summary = runner(registry, study=wider).run()
    assert [one["name"] for one in summary["baselines"]] == ["a"]
    assert asked == ["a"]
