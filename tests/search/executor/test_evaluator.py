"""The study's side of a worker, which is a script of what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import save
from tiny import STUDY, write_study

from metaformer import BackboneSpec
from mixers import MixerRegistry, PluginError
from mixers.errors import PluginsFileError
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.executor.child import WorkerDied
from search.executor.evaluator import GRACE_SECONDS, ChildEvaluator
from search.executor.worker import error_message, raise_again
from search.records import BaselineRecord, TrialRecord, TrialState
from search.space import SearchSpace
from search.study_file import load_study

READY = ({"ready": True}, b"")
SILENCE = None


class Script:
    """A child that says what is written; an exception in it is raised."""

    def __init__(self, *lines: Any) -> None:
        self.lines = list(lines)
        self.sent: list[dict[str, Any]] = []
        self.ended = False
        self.asked_to_stop = False

    def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def receive(self, _timeout_seconds: float) -> Any:
        line = self.lines.pop(0) if self.lines else SILENCE
        if isinstance(line, Exception):
            raise line
        return line

    def ask_to_stop(self) -> None:
        self.asked_to_stop = True

    def end(self) -> None:
        self.ended = True


class Time:
    """Each look at the clock takes a second."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1.0
        return self.seconds


def evaluator(
    *children: Script, check: Callable[[], None] = lambda: None, trial_seconds: float | None = None
) -> tuple[ChildEvaluator, list[str]]:
    heard: list[str] = []
    waiting = list(children)
    return (
        ChildEvaluator(
            start=lambda: waiting.pop(0),  # type: ignore[arg-type,return-value]
            phase=heard.append,
            note=heard.append,
            log_error=lambda title, text: heard.append(f"{title}: {text}"),
            check=check,
            trial_seconds=trial_seconds,
            now=Time(),
        ),
        heard,
    )


@pytest.fixture
def spec(registry: MixerRegistry) -> BackboneSpec:
    study = load_study(write_study(STUDY), {}, device="cpu")
    space = SearchSpace(
        study.space, registry, fields={"name": "x", "num_classes": 10, "image_size": 8}
    )
    choices: dict[str, Any] = {"depth": 1, "width": 4, "mixer": "pooling", "pool_size": 3}
    return space.backbone(lambda name, _domain: choices[name.rsplit(".", 1)[-1]])


def a_record() -> TrialRecord:
    return TrialRecord(number=7, state=TrialState.FAILED)


def answer(
    state: TrialState, *, trace: str | None = None, weights: bytes = b""
) -> tuple[dict[str, Any], bytes]:
    done = TrialRecord(number=7, state=state, reason="as it was", params=12)
    return {"record": done.to_data(), "traceback": trace}, weights


def test_a_candidates_record_and_weights_come_from_the_worker(spec: BackboneSpec) -> None:
    weights = {"w": torch.arange(3.0)}
    child = Script(
        READY, ({"phase": "train"}, b""), answer(TrialState.COMPLETE, weights=save(weights))
    )
    run, heard = evaluator(child)
    record = a_record()
    found = run.evaluate(spec, record)
    assert found is not None
    assert torch.equal(found["w"], weights["w"])
    assert (record.state, record.params) == (TrialState.COMPLETE, 12)
    assert heard == ["start a worker", "train"]
    assert child.sent[0]["do"] == "evaluate"
    assert BackboneSpec.model_validate(child.sent[0]["spec"]).digest == spec.digest


def test_a_worker_stays_while_it_is_healthy(spec: BackboneSpec) -> None:
    child = Script(READY, answer(TrialState.REJECTED), SILENCE, answer(TrialState.COMPLETE))
    run, heard = evaluator(child)
    run.evaluate(spec, a_record())
    run.train(spec, a_record())
    assert [task["do"] for task in child.sent] == ["evaluate", "train"]
    assert heard == ["start a worker"]
    assert not child.ended
    run.close()
    assert child.ended


@pytest.mark.parametrize(
    ("state", "trace"), [(TrialState.FAILED, "Traceback: in a mixer"), (TrialState.OOM, None)]
)
def test_after_a_failure_the_next_candidate_has_a_new_worker(
    spec: BackboneSpec, state: TrialState, trace: str | None
) -> None:
    first, second = (
        Script(READY, answer(state, trace=trace)),
        Script(READY, answer(TrialState.REJECTED)),
    )
    run, heard = evaluator(first, second)
    run.evaluate(spec, a_record())
    assert first.ended
    assert (f"trial 7: {trace}" in heard) is (trace is not None)
    run.evaluate(spec, a_record())
    assert len(second.sent) == 1


def test_a_worker_that_dies_leaves_a_lost_trial_with_how_it_died(spec: BackboneSpec) -> None:
    first, second = (
        Script(READY, SILENCE, WorkerDied("SIGSEGV")),
        Script(READY, answer(TrialState.COMPLETE)),
    )
    run, _ = evaluator(first, second)
    record = a_record()
    assert run.evaluate(spec, record) is None
    assert (record.state, record.reason) == (TrialState.LOST, "its process died: SIGSEGV")
    assert record.digest == spec.digest
    assert first.ended
    run.evaluate(spec, record)
    assert record.state is TrialState.COMPLETE


def test_a_trial_that_takes_too_long_is_ended(spec: BackboneSpec) -> None:
    child = Script(READY)
    run, _ = evaluator(child, trial_seconds=20)
    record = a_record()
    assert run.evaluate(spec, record) is None
    assert record.state is TrialState.TIMEOUT
    assert record.reason == "took longer than the 20 s of a trial"
    assert child.ended


def asks_to_stop_after(count: int) -> Callable[[], None]:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked > count:
            raise Interrupted

    return check


def test_a_worker_that_is_asked_to_stop_ends_at_its_next_step(spec: BackboneSpec) -> None:
    child = Script(READY, SILENCE, SILENCE, answer(TrialState.INTERRUPTED))
    run, _ = evaluator(child, check=asks_to_stop_after(2))
    record = a_record()
    run.evaluate(spec, record)
    assert child.asked_to_stop
    assert record.state is TrialState.INTERRUPTED
    assert not child.ended


def test_a_worker_that_does_not_stop_is_ended(spec: BackboneSpec) -> None:
    child = Script(READY)
    run, _ = evaluator(child, check=asks_to_stop_after(2))
    with pytest.raises(Interrupted):
        run.evaluate(spec, a_record())
    assert child.asked_to_stop
    assert child.ended
    assert run.now.seconds > GRACE_SECONDS  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (UsageError("words"), UsageError),
        (PluginsFileError("words"), UsageError),
        (PluginError("words"), EnvironmentProblem),
        (EnvironmentProblem("words"), EnvironmentProblem),
    ],
)
def test_what_a_user_can_mend_is_said_without_a_traceback(
    error: Exception, raised: type[Exception]
) -> None:
    with pytest.raises(raised) as caught:
        raise_again(error_message(error))
    assert type(caught.value) is raised
    assert str(caught.value) == "words"


def test_a_defect_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(EnvironmentProblem, match="Traceback|ZeroDivisionError"):
        raise_again(error_message(ZeroDivisionError("words")))


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("UsageError", UsageError),
        ("EnvironmentProblem", EnvironmentProblem),
        ("ZeroDivisionError", EnvironmentProblem),
    ],
)
def test_what_is_not_the_candidates_doing_is_raised_in_the_study(
    spec: BackboneSpec, kind: str, raised: type[Exception]
) -> None:
    problem = ({"error": kind, "words": "no such data", "traceback": "no such data"}, b"")
    for child in (Script(problem), Script(READY, problem)):
        run, _ = evaluator(child)
        with pytest.raises(raised, match="no such data"):
            run.evaluate(spec, a_record())
        assert child.ended


def test_a_baseline_is_asked_for_by_its_name_and_its_record_filled_in() -> None:
    found = BaselineRecord(name="timm:x", state=TrialState.COMPLETE, test_accuracy=0.5)
    child = Script(READY, ({"record": found.to_data(), "traceback": None}, b""))
    run, _ = evaluator(child)
    record = BaselineRecord(name="timm:x", state=TrialState.FAILED)
    run.compare(record)
    assert record == found
    assert child.sent[0]["do"] == "compare"
    assert child.sent[0]["record"]["name"] == "timm:x"


def test_a_worker_that_dies_with_a_baseline_leaves_it_lost() -> None:
    run, _ = evaluator(Script(READY, WorkerDied("SIGKILL")))
    record = BaselineRecord(name="timm:x", state=TrialState.FAILED)
    run.compare(record)
    assert (record.state, record.reason) == (TrialState.LOST, "its process died: SIGKILL")
