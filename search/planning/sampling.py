"""Candidates drawn from a space, each value as likely as the others, and what becomes of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from metaformer.errors import SpecError
from metaformer.spec import BackboneSpec
from mixers import Domain, OptionValue
from search.errors import EnvironmentProblem
from search.space.buildability import draw
from search.space.search_space import SearchSpace
from search.storage.records import NOT_BUILDABLE, TrialRecord, TrialState
from search.study.loop import MAX_UNMEASURED_RUNNING
from search.workers.interface import Executor, TaskKind


@dataclass(eq=False)
class Drawn:
    """A candidate: its parameters, its backbone (None if they are illegal together), and what is
    known of it. `measured` says whether the record is of a measurement, not of counts alone."""

    parameters: dict[str, OptionValue]
    spec: BackboneSpec | None
    record: TrialRecord
    measured: bool = False

    @property
    def is_buildable(self) -> bool:
        return "buildable" not in self.record.constraints

    @property
    def was_contaminated(self) -> bool:
        """True if others at work left it without a figure."""
        return self.record.state is TrialState.INTERRUPTED

    @property
    def made_the_budget(self) -> bool | None:
        """None if that is not known: not measured, or contaminated."""
        if self.was_contaminated:
            return None
        if self.record.state is TrialState.COMPLETE:
            return True if self.measured else None
        return False


def draw_candidates(space: SearchSpace, count: int, seed: int, executor: Executor) -> list[Drawn]:
    """So many candidates and what counts and floors say of them; equal ones are looked at once."""
    generator = random.Random(seed)
    known: dict[str, Drawn] = {}
    drawn = []
    for number in range(count):
        one = _draw(space, number, generator)
        if one.spec is not None:
            if one.spec.digest not in known:
                known[one.spec.digest] = one
                one.record = _answer(executor, "precheck", one.spec, one.record)
            one = known[one.spec.digest]
        drawn.append(one)
    return drawn


def measure_first(drawn: list[Drawn], count: int, executor: Executor) -> list[Drawn]:
    """Measures the first so many that may meet the budget; those that were, in order.

    EnvironmentProblem if others at work leave several of them without a figure.
    """
    measured: list[Drawn] = []
    busy = 0
    possible = [one for one in _different(drawn) if one.record.state is TrialState.COMPLETE]
    for one in possible:
        if len(measured) == count:
            break
        assert one.spec is not None
        one.record = _answer(executor, "measure_only", one.spec, one.record)
        if not one.was_contaminated:
            one.measured, busy = True, 0
            measured.append(one)
        elif (busy := busy + 1) == MAX_UNMEASURED_RUNNING:
            raise EnvironmentProblem(f"{one.record.reason}; try again when it is idle")
    return measured


def time_trainings(measured: list[Drawn], count: int, executor: Executor) -> list[float]:
    """Seconds that trainings of the first so many that met the budget would take."""
    found = []
    for one in [one for one in measured if one.made_the_budget][:count]:
        assert one.spec is not None
        timed = TrialRecord(number=one.record.number, state=TrialState.FAILED)
        timed = _answer(executor, "time_training", one.spec, timed)
        if "train" in timed.seconds:
            found.append(timed.seconds["train"])
    return found


def _draw(space: SearchSpace, number: int, generator: random.Random) -> Drawn:
    parameters: dict[str, OptionValue] = {}

    def choose(name: str, domain: Domain) -> OptionValue:
        parameters[name] = draw(domain, generator)
        return parameters[name]

    record = TrialRecord(number=number, state=TrialState.FAILED)
    try:
        spec = space.backbone(choose)
    except SpecError as error:  # values that are legal each, but not together
        record.state, record.reason = TrialState.REJECTED, f"cannot be built: {error}"
        record.constraints["buildable"] = NOT_BUILDABLE
        return Drawn(parameters, None, record)
    return Drawn(parameters, spec, record)


def _different(drawn: list[Drawn]) -> list[Drawn]:
    return list({id(one): one for one in drawn}.values())


def _answer(
    executor: Executor, do: TaskKind, spec: BackboneSpec, record: TrialRecord
) -> TrialRecord:
    executor.submit(do, spec, record)
    answer, _ = executor.next_answer()
    assert isinstance(answer, TrialRecord)
    return answer
