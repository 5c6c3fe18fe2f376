"""Candidates that a study never proposed, by the mixer or the place that ruled them out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from metaformer.errors import Problem
from mixers.third_party_code import one_line

_LIMIT = 500  # characters of a reason


@dataclass(frozen=True)
class PassedOver:
    """Number of candidates that one mixer or one place in the space ruled out.

    Attributes:
        mixer: Canonical name; empty if values of the space do not go together.
        place: Where in a candidate, such as `stages[].width`; empty for a mixer left out of `any`.
        candidates: How many; 0 for a mixer that `any` leaves out, so that none was generated.
        is_fault: Whether the mixer's own code is at fault, not the combination.
        reason: The first reason.
    """

    mixer: str
    place: str
    candidates: int
    is_fault: bool
    reason: str

    def __str__(self) -> str:
        plural = "" if self.candidates == 1 else "s"
        count = (
            f"{self.candidates} candidate{plural} passed over" if self.candidates else "left out"
        )
        where = f"mixer {self.mixer}" if self.mixer else self.place
        kind = ", its code is at fault" if self.is_fault else ""
        return f"{where}: {count}{kind}: {self.reason}"

    def to_data(self) -> dict[str, Any]:
        """As summary.json holds it."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> PassedOver:
        return cls(**data)


class PassedOverCounter:
    """Counts what a study passes over; `note` reports each mixer at fault once."""

    def __init__(
        self,
        note: Callable[[str], None] = lambda _text: None,
        *,
        left_out: Mapping[str, str] | None = None,
    ) -> None:
        """`left_out` are the mixers that `any` does without, with the reason of each."""
        self._note = note
        self._found: dict[tuple[str, str], PassedOver] = {}
        for mixer, reason in (left_out or {}).items():
            found = PassedOver(mixer, "", 0, True, one_line(reason, _LIMIT))
            self._found[mixer, ""] = found

    def resume(self, earlier: Iterable[Mapping[str, Any]]) -> None:
        """Continue from what summary.json held when the study was left; damaged entries are left
        out."""
        kinds = {"mixer": str, "place": str, "candidates": int, "is_fault": bool, "reason": str}
        for data in earlier:
            if isinstance(data, dict) and {key: type(data[key]) for key in data} == kinds:
                found = PassedOver.from_data(data)
                self._found[found.mixer, found.place] = found

    def add(self, problem: Problem) -> None:
        """Count one candidate that `problem` rules out."""
        place = re.sub(r"\[\d+\]", "[]", problem.path)
        key = problem.mixer, "" if problem.mixer else place
        old = self._found.get(key)
        reason = f"{problem.path}: {problem.message}" if problem.mixer else problem.message
        if old is None:
            old = PassedOver(*key, 0, problem.is_fault, one_line(reason, _LIMIT))
        if (problem.is_fault and not old.is_fault) or (problem.is_fault and not old.candidates):
            self._note(f"passed over: {one_line(reason, _LIMIT)}")
        count, is_fault = old.candidates + 1, old.is_fault or problem.is_fault
        self._found[key] = PassedOver(*key, count, is_fault, old.reason)

    def found(self) -> list[PassedOver]:
        """Mixers at fault first, then by the number of candidates."""
        return sorted(self._found.values(), key=lambda one: (not one.is_fault, -one.candidates))
