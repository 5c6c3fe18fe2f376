"""The loop: what goes wrong with a candidate, and what the study makes of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import torch
from misbehaving import with_misbehaving
from safetensors.torch import load_file
from studies import Evaluate, Heard, reject, runner
from tiny import STUDY, write_study

from metaformer import BackboneSpec
from mixers import MixerFault, MixerRegistry
from mixers.scan import GROUP
from search.config.load import load_study
from search.config.study import Study
from search.errors import Interrupted, UsageError
from search.evaluation.evaluator import CandidateEvaluator
from search.scheduling.quarantine import FAILED_CANDIDATES
from search.storage.records import TrialRecord, TrialState
from search.storage.trial_store import MAX_ABANDONED
from search.study.fork import fork
from search.study.loop import MAX_FAILURES_RUNNING, MAX_UNMEASURED_RUNNING, SearchLoop
from search.training import Diverged


def test_a_failed_candidate_is_kept_with_its_traceback_and_the_study_goes_on(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    def fail_once(spec: BackboneSpec, record: TrialRecord) -> None:
        if record.number == 1:
            raise ZeroDivisionError("in a mixer")
        reject(spec, record)

    evaluate_by(fail_once)
    summary = runner(registry, search={"trials": 4}).run()
    assert summary["outcome"] == "done"
    assert summary["trials"]["by_state"] == {"REJECTED": 3, "FAILED": 1}
    lines = [json.loads(line) for line in Path("runs/tiny/trials.jsonl").read_text().splitlines()]
    assert lines[1]["reason"] == "ZeroDivisionError: in a mixer"
    assert "Traceback" in Path("runs/tiny/errors.log").read_text()


def test_a_candidate_with_which_the_study_died_too_often_is_given_up_with_its_spec(
    registry: MixerRegistry,
    evaluate_by: Callable[[Evaluate], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluate_by(reject)
    with monkeypatch.context() as dying:
        for method in ("_next_record", "_interrupt_all"):  # as if it died with the first candidate

            def die(*_arguments: object) -> None:
                raise KeyboardInterrupt

            dying.setattr(SearchLoop, method, die)
        for _ in range(MAX_ABANDONED):
            with pytest.raises(KeyboardInterrupt):
                runner(registry).run()
    heard = Heard()
    summary = runner(registry, heard=heard).run()
    assert summary["trials"]["by_state"] == {"LOST": MAX_ABANDONED, "FAILED": 1, "REJECTED": 2}
    lines = [json.loads(line) for line in Path("runs/tiny/trials.jsonl").read_text().splitlines()]
    (given_up,) = (line for line in lines if line["state"] == "FAILED")
    assert given_up["reason"] == "the study's process died 10 times while this was under way"
    spec = BackboneSpec.model_validate(given_up["spec"])
    assert given_up["digest"] == spec.digest
    assert spec.digest not in {line["digest"] for line in lines if line["state"] == "REJECTED"}


def test_a_study_of_failures_ends_early(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    def diverge(_spec: BackboneSpec, record: TrialRecord) -> None:
        record.state, record.reason = TrialState.FAILED, "diverged: always"

    evaluate_by(diverge)
    summary = runner(registry, search={"trials": 18}).run()
    assert summary["outcome"] == "too many failures"
    assert summary["trials"]["counted"] == MAX_FAILURES_RUNNING


def of_strangers(mixers: str = "strangers/raising, pooling") -> tuple[Study, MixerRegistry]:
    """A study of two mixers, of which the first is anybody's."""
    own = [p for p in entry_points(group=GROUP) if p.dist and p.dist.name == "metaformer-search"]
    text = STUDY.replace("identity, pooling", mixers)
    study = load_study(write_study(text), {"search": {"trials": 10}}, device="cpu")
    return study, with_misbehaving(own)


def raising(spec: BackboneSpec, record: TrialRecord) -> None:
    if spec.stages[0].mixer[0].name == "strangers/raising":
        raise MixerFault("strangers/raising", "KeyError: 'a mistake'", path="stages[0].mixer")
    reject(spec, record)


def mixers_tried() -> list[str]:
    lines = [json.loads(line) for line in Path("runs/tiny/trials.jsonl").read_text().splitlines()]
    return [line["mixers"][0]["name"] for line in lines]


def test_a_mixer_that_only_fails_is_set_aside_and_the_study_goes_on_without_it(
    evaluate_by: Callable[[Evaluate], None],
) -> None:
    evaluate_by(raising)
    study, registry = of_strangers()
    heard = Heard()
    summary = runner(registry, study=study, heard=heard).run()
    assert summary["outcome"] == "done"
    assert summary["trials"]["by_state"] == {"FAILED": FAILED_CANDIDATES, "REJECTED": 7}
    (aside,) = summary["set_aside"]
    failed = [record.number for record in heard.finished if record.state is TrialState.FAILED]
    assert (aside["mixer"], aside["trials"]) == ("strangers/raising", failed)
    said = [note for note in heard.notes if "is set aside" in note]
    numbers = ", ".join(map(str, failed))
    assert said == [
        f"mixer strangers/raising is set aside: it failed in trials {numbers}: "
        "stages[0].mixer: KeyError: 'a mistake'"
    ]


def test_a_study_that_goes_on_has_its_mixers_set_aside_again(
    evaluate_by: Callable[[Evaluate], None],
) -> None:
    evaluate_by(raising)
    study, registry = of_strangers()
    runner(registry, study=study).run()
    more = dataclasses.replace(
        study,
        config=study.config.model_copy(
            update={"search": study.config.search.model_copy(update={"trials": 14})}
        ),
    )
    heard = Heard()
    summary = runner(registry, study=more, heard=heard).run()
    assert sum("is set aside" in note for note in heard.notes) == 1
    assert mixers_tried().count("strangers/raising") == FAILED_CANDIDATES
    assert len(summary["set_aside"]) == 1


def test_five_failures_do_not_end_a_study_that_can_go_on_without_the_mixer(
    evaluate_by: Callable[[Evaluate], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.study.loop.MAX_FAILURES_RUNNING", FAILED_CANDIDATES)
    evaluate_by(raising)
    study, registry = of_strangers()
    summary = runner(registry, study=study).run()
    assert summary["outcome"] == "done"
    assert summary["trials"]["by_state"]["FAILED"] == FAILED_CANDIDATES


def test_a_space_that_is_left_without_a_mixer_is_exhausted_and_says_why(
    evaluate_by: Callable[[Evaluate], None],
) -> None:
    evaluate_by(raising)
    study, registry = of_strangers("strangers/raising")
    summary = runner(registry, study=study).run()
    assert summary["outcome"] == "space exhausted"
    assert summary["trials"]["by_state"] == {"FAILED": FAILED_CANDIDATES}
    assert summary["set_aside"][0]["mixer"] == "strangers/raising"


def test_a_fork_leaves_behind_what_failed_with_a_mixer_that_was_set_aside(
    evaluate_by: Callable[[Evaluate], None],
) -> None:
    evaluate_by(raising)
    study, registry = of_strangers()
    summary = runner(registry, study=study).run()
    old = load_study("runs/tiny/study.yaml", {}, device="cpu")
    named = {"name": "tiny-fork"}
    new = dataclasses.replace(old, config=old.config.model_copy(update=named))
    begun = fork(old, Path("runs/tiny"), new, Path("runs"), registry)
    assert list(begun.to_try_again) == summary["set_aside"][0]["trials"]
    assert (begun.carried, begun.left_behind) == (7, ())
    text = Path("runs/tiny-fork/summary.json").read_text()
    assert json.loads(text)["set_aside"] == []


def test_out_of_memory_is_infeasible_and_the_study_goes_on(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    def hungry(_spec: BackboneSpec, record: TrialRecord) -> None:
        record.state, record.constraints["memory"] = TrialState.OOM, 10.0

    evaluate_by(hungry)
    summary = runner(registry, search={"trials": 6}).run()
    assert summary["trials"]["by_state"] == {"OOM": 6}


def test_an_interrupt_abandons_the_candidate_and_tries_it_again_later(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    interrupted: list[str] = []

    def stop_at_second(spec: BackboneSpec, record: TrialRecord) -> None:
        if record.number == 1:
            interrupted.append(spec.digest)
            raise Interrupted
        reject(spec, record)

    evaluate_by(stop_at_second)
    stopped = runner(registry, should_stop=lambda: bool(interrupted)).run()
    assert stopped["outcome"] == "interrupted"
    assert stopped["trials"]["by_state"] == {"REJECTED": 1, "INTERRUPTED": 1}
    heard = Heard()
    done = runner(registry, heard=heard).run()
    assert done["outcome"] == "done"
    assert heard.finished[0].digest == interrupted[0]
    assert done["trials"]["counted"] == 3


def others_at_work(_spec: BackboneSpec, record: TrialRecord) -> None:
    record.state, record.reason = TrialState.INTERRUPTED, "train: no valid sample"


def test_others_at_work_on_the_device_end_the_study_and_use_up_no_candidate(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(others_at_work)
    busy = runner(registry).run()
    assert busy["outcome"] == "machine busy"
    assert busy["trials"] == {
        "total": 3, "counted": 0, "by_state": {"INTERRUPTED": MAX_UNMEASURED_RUNNING},
    }  # fmt: skip
    evaluate_by(reject)
    heard = Heard()
    assert runner(registry, heard=heard).run()["trials"]["counted"] == 3
    lines = [json.loads(line) for line in Path("runs/tiny/trials.jsonl").read_text().splitlines()]
    first = BackboneSpec.model_validate(lines[MAX_UNMEASURED_RUNNING]["spec"])
    assert heard.finished[0].digest == first.digest


def test_others_at_work_for_a_while_only_delay_the_study(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    def sometimes(spec: BackboneSpec, record: TrialRecord) -> None:
        (others_at_work if record.number % 3 else reject)(spec, record)

    evaluate_by(sometimes)
    summary = runner(registry, search={"trials": 5}).run()
    assert summary["outcome"] == "done"
    assert summary["trials"]["by_state"] == {"REJECTED": 5, "INTERRUPTED": 8}


def test_no_candidate_is_begun_after_the_time_limit(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    summary = runner(registry).run(time_limit=0.0)
    assert summary["outcome"] == "time limit"
    assert summary["trials"]["counted"] == 0


def test_a_space_that_is_all_tried_ends_the_study(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    evaluate_by(reject)
    summary = runner(registry, search={"trials": 50}).run()
    assert summary["outcome"] == "space exhausted"
    assert summary["trials"]["counted"] == 18


@pytest.mark.parametrize(
    ("mixer", "state", "reason"),
    [
        ("hungry", "OOM", "can't allocate memory"),
        ("nan", "FAILED", "diverged: the loss became nan in epoch 1, step 1"),
        ("raising", "FAILED", 'KeyError: "a stranger\'s mistake"'),
    ],
)
def test_a_strangers_mixer_that_misbehaves_ends_its_trial_and_not_the_study(
    mixer: str, state: str, reason: str
) -> None:
    own = [p for p in entry_points(group=GROUP) if p.dist and p.dist.name == "metaformer-search"]
    text = STUDY.replace("[identity, pooling]", f"[strangers/{mixer}]")
    study = load_study(write_study(text), {"search": {"trials": 2}}, device="cpu")
    summary = runner(with_misbehaving(own), study=study).run()
    assert summary["outcome"] == "done"
    assert summary["trials"]["by_state"] == {state: 2}
    lines = [json.loads(line) for line in Path("runs/tiny/trials.jsonl").read_text().splitlines()]
    assert all(reason in line["reason"] for line in lines)
    assert lines[0]["mixers"][0]["distribution"] == "strangers"


def test_weights_that_are_gone_are_trained_again_and_are_the_same(
    registry: MixerRegistry,
) -> None:
    first = runner(registry).run()
    weights = Path("runs/tiny/best.safetensors")
    before = load_file(weights)
    weights.unlink()
    heard = Heard()
    again = runner(registry, heard=heard).run()
    assert any("are gone; training it again" in note for note in heard.notes)
    assert again["best"]["test_accuracy"] == first["best"]["test_accuracy"]
    after = load_file(weights)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_weights_that_cannot_be_saved_do_not_lose_the_trial(
    registry: MixerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("search.storage.run_folder.RunFolder.keep_weights", full)
        with pytest.raises(OSError, match="No space left"):
            runner(registry).run()
    lines = [json.loads(line) for line in Path("runs/tiny/trials.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["COMPLETE"]
    heard = Heard()
    summary = runner(registry, heard=heard).run()
    assert summary["trials"]["by_state"] == {"COMPLETE": 3}
    assert any("training it again" in note for note in heard.notes)


def test_weights_that_cannot_be_trained_again_are_said_to_be_missing(
    registry: MixerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner(registry).run()
    Path("runs/tiny/best.safetensors").unlink()

    def fail(*_arguments: Any) -> None:
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(CandidateEvaluator, "train", fail)
    heard = Heard()
    summary = runner(registry, heard=heard).run()
    assert any("training it again failed: RuntimeError" in note for note in heard.notes)
    assert summary["best"]["test_accuracy"] is None
    assert summary["best"]["validation_accuracy"] is not None


def test_data_that_fail_in_the_middle_leave_the_candidate_to_be_tried_again(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None]
) -> None:
    def unreadable(_spec: BackboneSpec, _record: TrialRecord) -> None:
        raise UsageError("data: 9 of 10 images cannot be read")

    evaluate_by(unreadable)
    for _ in range(4):  # more often than a candidate whose process dies is tried
        with pytest.raises(UsageError, match="9 of 10"):
            runner(registry).run()
    evaluate_by(reject)
    heard = Heard()
    runner(registry, heard=heard).run()
    lines = [json.loads(line) for line in Path("runs/tiny/trials.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines[:4]] == ["INTERRUPTED"] * 4
    assert heard.finished[0].digest == lines[0]["digest"]


@pytest.mark.parametrize("state", [TrialState.LOST, TrialState.TIMEOUT])
def test_a_study_whose_workers_all_die_or_never_end_ends_early(
    registry: MixerRegistry, evaluate_by: Callable[[Evaluate], None], state: TrialState
) -> None:
    tried: list[str] = []

    def end(spec: BackboneSpec, record: TrialRecord) -> None:
        tried.append(spec.digest)
        record.mixers = []  # so that none is to blame
        record.state, record.reason = state, "its process died: SIGKILL"

    evaluate_by(end)
    summary = runner(registry, search={"trials": 18}).run()
    assert summary["outcome"] == "too many failures"
    assert summary["trials"]["counted"] == MAX_FAILURES_RUNNING
    assert len(set(tried)) == MAX_FAILURES_RUNNING


def test_a_best_that_cannot_be_scored_on_the_test_split_is_told_and_the_study_ends_well(
    registry: MixerRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(*_arguments: Any, **_options: Any) -> float:
        raise Diverged("the trained model answers with numbers that are not finite")

    monkeypatch.setattr("search.evaluation.evaluator.accuracy", diverged)
    heard = Heard()
    summary = runner(registry, heard=heard).run()
    assert summary["outcome"] == "done"
    assert summary["best"]["test_accuracy"] is None
    number = summary["best"]["trial"]
    said = f"trial {number} has no accuracy on the test split: the trained model answers"
    assert any(note.startswith(said) for note in heard.notes)
