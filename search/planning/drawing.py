"""Candidates drawn from a space, each value as likely as the others, and what becomes of them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from metaformer.errors import SpecError
from metaformer.spec import BackboneSpec
from mixers import Domain, OptionValue
from search.buildable import draw
from search.errors import EnvironmentProblem
from search.faults import guarded
from search.loop import MAX_UNMEASURED_RUNNING
from search.records import NOT_BUILDABLE, TrialRecord, TrialState
from search.space import SearchSpace


class Previewer(Protocol):
    """Says of candidates what can be said before they are trained."""

    def foretell(self, spec: BackboneSpec, record: TrialRecord) -> None: ...

    def measured(self, spec: BackboneSpec, record: TrialRecord) -> None: ...

    def time_training(self, spec: BackboneSpec, record: TrialRecord) -> None: ...


@dataclass(eq=False)
class Drawn:
    """A candidate: its parameters, its backbone (None where they are illegal together), and what is
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
        """Whether others at work left it without a figure."""
        return self.record.state is TrialState.INTERRUPTED

    @property
    def made_the_budget(self) -> bool | None:
        """None where that is not known: not measured, or contaminated."""
        if self.was_contaminated:
            return None
        if self.record.state is TrialState.COMPLETE:
            return True if self.measured else None
        return False


def draw_candidates(space: SearchSpace, count: int, seed: int, previewer: Previewer) -> list[Drawn]:
    """So many candidates and what counts and floors say of them; equal ones are looked at once."""
    generator = random.Random(seed)
    known: dict[str, Drawn] = {}
    drawn = []
    for number in range(count):
        one = _draw(space, number, generator)
        if one.spec is not None:
            if one.spec.digest not in known:
                known[one.spec.digest] = one
                guarded(one.record, partial(previewer.foretell, one.spec, one.record), _no_log)
            one = known[one.spec.digest]
        drawn.append(one)
    return drawn


def measure_first(drawn: list[Drawn], count: int, previewer: Previewer) -> list[Drawn]:
    """Measures the first so many that may make the budget; those that were, in order.

    EnvironmentProblem where others at work leave several of them without a figure.
    """
    measured: list[Drawn] = []
    busy = 0
    possible = [one for one in _different(drawn) if one.record.state is TrialState.COMPLETE]
    for one in possible:
        if len(measured) == count:
            break
        assert one.spec is not None
        guarded(one.record, partial(previewer.measured, one.spec, one.record), _no_log)
        if not one.was_contaminated:
            one.measured, busy = True, 0
            measured.append(one)
        elif (busy := busy + 1) == MAX_UNMEASURED_RUNNING:
            raise EnvironmentProblem(f"{one.record.reason}; try again when it is idle")
    return measured


def time_trainings(measured: list[Drawn], count: int, previewer: Previewer) -> list[float]:
    """Seconds that trainings of the first so many that made the budget would take."""
    found = []
    for one in [one for one in measured if one.made_the_budget][:count]:
        assert one.spec is not None
        timed = TrialRecord(number=one.record.number, state=TrialState.FAILED)
        guarded(timed, partial(previewer.time_training, one.spec, timed), _no_log)
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


def _no_log(_title: str, _traceback: str) -> None:
    """A plan writes nothing; the reason is in the record."""
