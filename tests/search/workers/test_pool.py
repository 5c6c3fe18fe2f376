"""The study's side of its workers, which are scripts of what they say."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from safetensors.torch import save
from tiny import STUDY, write_study

from metaformer import BackboneSpec
from mixers import MixerRegistry, PluginError
from mixers.errors import PluginsFileError
from search.config.load import load_study
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.space.search_space import SearchSpace
from search.storage.records import BaselineRecord, TrialRecord, TrialState
from search.workers._slot import GRACE_SECONDS, MAX_STARTS, WorkerSlot
from search.workers.interface import TaskResult
from search.workers.pool import Workers
from search.workers.process import WorkerDied
from search.workers.worker_main import error_message, raise_again

READY = ({"ready": True}, b"")
SILENCE = None


class Script:
    """A child that says what is written; an exception in it is raised. It has always something to
    be read, as a closed pipe has, so that nobody waits for it."""

    descriptor: int

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

    def fileno(self) -> int:
        return self.descriptor

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


@pytest.fixture(autouse=True)
def _something_to_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    descriptor = os.open("/dev/null", os.O_RDONLY)
    monkeypatch.setattr(Script, "descriptor", descriptor, raising=False)
    yield
    os.close(descriptor)


def workers(
    *children: Script,
    slots: int = 1,
    check: Callable[[], None] = lambda: None,
    trial_seconds: float | None = None,
) -> tuple[Workers, list[str]]:
    """Workers that `children` become in turn, and what is heard of them."""
    heard: list[str] = []
    waiting = list(children)
    made = [
        WorkerSlot(
            start=lambda: waiting.pop(0),  # type: ignore[arg-type,return-value]
            phase=lambda record, text: heard.append(f"{record.title}: {text}"),
            note=lambda record, text: heard.append(f"{record.title}: {text}"),
            log_error=lambda title, text: heard.append(f"{title}: {text}"),
            trial_seconds=trial_seconds,
            now=Time(),
        )
        for _ in range(slots)
    ]
    return Workers(made, check), heard


@pytest.fixture
def spec(registry: MixerRegistry) -> BackboneSpec:
    study = load_study(write_study(STUDY), {}, device="cpu")
    space = SearchSpace(
        study.space, registry, fields={"name": "x", "num_classes": 10, "image_size": 8}
    )
    choices: dict[str, Any] = {"depth": 1, "width": 4, "mixer": "pooling", "pool_size": 3}
    return space.backbone(lambda name, _domain: choices[name.rsplit(".", 1)[-1]])


def a_record(number: int = 7) -> TrialRecord:
    return TrialRecord(number=number, state=TrialState.FAILED)


def answer(
    state: TrialState, *, trace: str | None = None, weights: bytes = b"", number: int = 7
) -> tuple[dict[str, Any], bytes]:
    done = TrialRecord(number=number, state=state, reason="as it was", params=12)
    return {"record": done.to_data(), "traceback": trace}, weights


def evaluated(run: Workers, spec: BackboneSpec, do: Any = "evaluate") -> TaskResult:
    run.submit(do, spec, a_record())
    return run.next_answer()


def test_a_candidates_record_and_weights_come_from_the_worker(spec: BackboneSpec) -> None:
    weights = {"w": torch.arange(3.0)}
    child = Script(
        READY, ({"phase": "train"}, b""), answer(TrialState.COMPLETE, weights=save(weights))
    )
    run, heard = workers(child)
    record, found = evaluated(run, spec)
    assert found is not None
    assert torch.equal(found["w"], weights["w"])
    assert (record.state, record.params) == (TrialState.COMPLETE, 12)
    assert heard == ["trial 7: start a worker", "trial 7: train"]
    assert child.sent[0]["do"] == "evaluate"
    assert BackboneSpec.model_validate(child.sent[0]["spec"]).digest == spec.digest


def test_a_worker_stays_while_it_is_healthy(spec: BackboneSpec) -> None:
    child = Script(READY, answer(TrialState.REJECTED), SILENCE, answer(TrialState.COMPLETE))
    run, heard = workers(child)
    evaluated(run, spec)
    evaluated(run, spec, "train")
    assert [task["do"] for task in child.sent] == ["evaluate", "train"]
    assert heard == ["trial 7: start a worker"]
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
    run, heard = workers(first, second)
    evaluated(run, spec)
    assert first.ended
    assert (f"trial 7: {trace}" in heard) is (trace is not None)
    evaluated(run, spec)
    assert len(second.sent) == 1


def test_a_worker_that_dies_leaves_a_lost_trial_with_how_it_died(spec: BackboneSpec) -> None:
    first, second = (
        Script(READY, SILENCE, WorkerDied("SIGSEGV")),
        Script(READY, answer(TrialState.COMPLETE)),
    )
    run, _ = workers(first, second)
    record, weights = evaluated(run, spec)
    assert weights is None
    assert (record.state, record.reason) == (TrialState.LOST, "its process died: SIGSEGV")
    assert first.ended
    record, _ = evaluated(run, spec)
    assert record.state is TrialState.COMPLETE


def test_a_worker_that_died_between_two_candidates_is_replaced_and_blames_nobody(
    spec: BackboneSpec,
) -> None:
    class Gone(Script):
        def send(self, message: dict[str, Any]) -> None:
            super().send(message)
            if len(self.sent) > 1:
                raise WorkerDied("SIGKILL")

    first = Gone(READY, answer(TrialState.REJECTED))
    run, _ = workers(first, Script(READY, answer(TrialState.COMPLETE)))
    evaluated(run, spec)
    record, _ = evaluated(run, spec)
    assert record.state is TrialState.COMPLETE
    assert first.ended


def test_a_worker_that_dies_before_it_is_ready_is_started_again(spec: BackboneSpec) -> None:
    dying = [Script(WorkerDied("SIGKILL")) for _ in range(MAX_STARTS - 1)]
    run, _ = workers(*dying, Script(READY, answer(TrialState.COMPLETE)))
    record, _ = evaluated(run, spec)
    assert record.state is TrialState.COMPLETE
    assert all(script.ended for script in dying)


def test_workers_that_never_become_ready_are_the_machines_trouble(spec: BackboneSpec) -> None:
    run, _ = workers(*(Script(WorkerDied("SIGKILL")) for _ in range(MAX_STARTS)))
    with pytest.raises(EnvironmentProblem, match="a worker died 3 times before it was ready: SIGK"):
        evaluated(run, spec)


def test_a_trial_that_takes_too_long_is_ended(spec: BackboneSpec) -> None:
    child = Script(READY)
    run, _ = workers(child, trial_seconds=20)
    record, weights = evaluated(run, spec)
    assert weights is None
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
    run, _ = workers(child, check=asks_to_stop_after(1))
    record, _ = evaluated(run, spec)
    assert child.asked_to_stop
    assert record.state is TrialState.INTERRUPTED
    assert not child.ended


def test_a_worker_that_does_not_stop_is_ended(spec: BackboneSpec) -> None:
    child = Script(READY)
    run, _ = workers(child, check=asks_to_stop_after(2))
    record, _ = evaluated(run, spec)
    assert (record.state, record.reason) == (TrialState.INTERRUPTED, "stopped by the user")
    assert child.asked_to_stop
    assert child.ended
    assert run.slots[0].now.seconds > GRACE_SECONDS  # type: ignore[attr-defined]


def test_a_worker_that_is_still_being_started_is_ended_at_once(spec: BackboneSpec) -> None:
    child = Script()
    run, _ = workers(child, check=asks_to_stop_after(1))
    record, _ = evaluated(run, spec)
    assert (record.state, record.reason) == (TrialState.INTERRUPTED, "stopped by the user")
    assert (child.asked_to_stop, child.ended, child.sent) == (False, True, [])


def test_of_several_workers_the_first_that_is_done_is_answered_first(spec: BackboneSpec) -> None:
    slow = Script(READY, SILENCE, SILENCE, answer(TrialState.COMPLETE, number=1))
    fast = Script(READY, SILENCE, answer(TrialState.REJECTED, number=2))
    run, heard = workers(slow, fast, slots=2)
    assert run.free == 2
    run.submit("evaluate", spec, a_record(1))
    run.submit("evaluate", spec, a_record(2))
    assert run.free == 0
    assert run.next_answer()[0].number == 2
    assert run.free == 1
    assert run.next_answer()[0].number == 1
    assert run.free == 2
    assert heard == ["trial 1: start a worker", "trial 2: start a worker"]


def test_of_several_workers_one_that_dies_costs_the_others_nothing(spec: BackboneSpec) -> None:
    healthy = Script(READY, SILENCE, SILENCE, answer(TrialState.COMPLETE, number=1))
    dying = Script(READY, WorkerDied("SIGKILL"))
    run, _ = workers(healthy, dying, slots=2)
    run.submit("evaluate", spec, a_record(1))
    run.submit("evaluate", spec, a_record(2))
    lost, _ = run.next_answer()
    assert (lost.number, lost.state) == (2, TrialState.LOST)
    assert not healthy.ended
    assert run.next_answer()[0].state is TrialState.COMPLETE


def test_all_workers_are_asked_to_stop_and_each_trial_is_answered(spec: BackboneSpec) -> None:
    children = [
        Script(READY, SILENCE, SILENCE, answer(TrialState.INTERRUPTED, number=1)),
        Script(READY, SILENCE, answer(TrialState.COMPLETE, number=2)),  # was done by then
        Script(SILENCE),  # not even ready
    ]
    run, _ = workers(*children, slots=3, check=asks_to_stop_after(1))
    for number in (1, 2, 3):
        run.submit("evaluate", spec, a_record(number))
    answers = {record.number: record.state for record, _ in (run.next_answer() for _ in range(3))}
    assert answers == {
        1: TrialState.INTERRUPTED, 2: TrialState.COMPLETE, 3: TrialState.INTERRUPTED,
    }  # fmt: skip
    assert [child.asked_to_stop for child in children] == [True, True, False]
    assert [child.ended for child in children] == [False, False, True]


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
        run, _ = workers(child)
        with pytest.raises(raised, match="no such data"):
            evaluated(run, spec)
        run.close()
        assert child.ended


def test_a_baseline_is_asked_for_by_its_name_and_its_record_comes_back() -> None:
    found = BaselineRecord(name="timm:x", state=TrialState.COMPLETE, test_accuracy=0.5)
    child = Script(READY, ({"record": found.to_data(), "traceback": "in it"}, b""))
    run, heard = workers(child)
    run.submit("evaluate_baseline", None, BaselineRecord(name="timm:x", state=TrialState.FAILED))
    assert run.next_answer() == (found, None)
    assert (child.sent[0]["do"], child.sent[0]["spec"]) == ("evaluate_baseline", None)
    assert child.sent[0]["record"]["name"] == "timm:x"
    assert heard == ["baseline timm:x: start a worker", "baseline timm:x: in it"]


def test_a_worker_that_dies_with_a_baseline_leaves_it_lost() -> None:
    run, _ = workers(Script(READY, WorkerDied("SIGKILL")))
    run.submit("evaluate_baseline", None, BaselineRecord(name="timm:x", state=TrialState.FAILED))
    record, _ = run.next_answer()
    assert (record.state, record.reason) == (TrialState.LOST, "its process died: SIGKILL")
