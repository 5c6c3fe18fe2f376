"""Results of checks, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The outcome of a check; only FAILED says that the contract is broken."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    WARNING = "WARNING"  # threads, processes, files or memory are kept
    XFAIL = "XFAIL"  # fails, as the class's `expected_failed_checks` says
    XPASS = "XPASS"  # passes, though the class expects it to fail


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """The outcome of one check; `detail` says what failed, why it was skipped, or what was seen."""

    check: str
    status: Status
    detail: str = ""

    def to_data(self) -> dict[str, str]:
        return {"check": self.check, "status": str(self.status), "detail": self.detail}

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> CheckRecord:
        return cls(data["check"], Status(data["status"]), data["detail"])


class CheckFailed(Exception):
    """A mixer does not do what the contract says; the message is for its author."""


class Warned(Exception):
    """A mixer uses resources that the contract leaves to it; the message is for its author."""


class NotApplicable(Exception):
    """A check that says nothing of this mixer; the message says why."""


def require(holds: bool, words: str) -> None:
    """CheckFailed with these words unless it holds."""
    if not holds:
        raise CheckFailed(words)
