"""The search for a good backbone above a measured floor of throughput.

Names are imported when they are first used, so that the command line stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.bayesopt.history import Candidate, History
    from search.bayesopt.limits import AtLeast, AtMost
    from search.bayesopt.optimize import EvaluationFailed, optimize
    from search.config.load import load_study
    from search.config.study import Study
    from search.space.search_space import SearchSpace
    from search.study.runner import StudyRunner

_HOMES = {
    "AtLeast": "bayesopt.limits",
    "AtMost": "bayesopt.limits",
    "Candidate": "bayesopt.history",
    "EvaluationFailed": "bayesopt.optimize",
    "History": "bayesopt.history",
    "SearchSpace": "space.search_space",
    "Study": "config.study",
    "StudyRunner": "study.runner",
    "load_study": "config.load",
    "optimize": "bayesopt.optimize",
}

__all__ = [
    "AtLeast",
    "AtMost",
    "Candidate",
    "EvaluationFailed",
    "History",
    "SearchSpace",
    "Study",
    "StudyRunner",
    "load_study",
    "optimize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
