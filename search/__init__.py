"""The search for a good backbone above a measured floor of throughput.

Names are imported when they are first used, so that the command line stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.api import StudyResult, load_result, measure, run
    from search.bayesopt.history import Candidate, History
    from search.bayesopt.limits import AtLeast, AtMost
    from search.bayesopt.optimize import EvaluationFailed, optimize
    from search.config.load import load_study
    from search.config.study import Study
    from search.space.search_space import SearchSpace
    from search.storage.progress import Callback
    from search.study.runner import StudyRunner
    from search.throughput import Measurement, MeasurementProtocol

_HOMES = {
    "AtLeast": "bayesopt.limits",
    "AtMost": "bayesopt.limits",
    "Callback": "storage.progress",
    "Candidate": "bayesopt.history",
    "EvaluationFailed": "bayesopt.optimize",
    "History": "bayesopt.history",
    "Measurement": "throughput.measurement",
    "MeasurementProtocol": "throughput.protocol",
    "SearchSpace": "space.search_space",
    "Study": "config.study",
    "StudyResult": "api",
    "StudyRunner": "study.runner",
    "load_result": "api",
    "load_study": "config.load",
    "measure": "api",
    "optimize": "bayesopt.optimize",
    "run": "api",
}

__all__ = [
    "AtLeast",
    "AtMost",
    "Callback",
    "Candidate",
    "EvaluationFailed",
    "History",
    "Measurement",
    "MeasurementProtocol",
    "SearchSpace",
    "Study",
    "StudyResult",
    "StudyRunner",
    "load_result",
    "load_study",
    "measure",
    "optimize",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
