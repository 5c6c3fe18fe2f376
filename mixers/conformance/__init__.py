"""Checks of a mixer against the contract, for us and for authors.

In an author's tests two lines are enough:

    @parametrize_with_checks(MyMixer)
    def test_conformance(check): check()

Names are imported when they are first used: `check_in_child` needs no torch in its process.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixers.conformance._authors import parametrize_with_checks
    from mixers.conformance._names import CHECK_NAMES
    from mixers.conformance._suite import check_mixer
    from mixers.conformance.records import CheckRecord, Status
    from mixers.conformance.supervised import check_in_child

_HOMES = {
    "CHECK_NAMES": "_names",
    "CheckRecord": "records",
    "Status": "records",
    "check_in_child": "supervised",
    "check_mixer": "_suite",
    "parametrize_with_checks": "_authors",
}

__all__ = [
    "CHECK_NAMES",
    "CheckRecord",
    "Status",
    "check_in_child",
    "check_mixer",
    "parametrize_with_checks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
