"""One network evaluated in this process: what goes wrong with it ends up in its record."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Literal, TypeAlias

from torch import Tensor

from metaformer.spec import BackboneSpec
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.records import Record, TrialState

# a candidate is put to the budgets and trained where it makes them; trained only; put to the
# budgets only; the best is scored on the test split; for a plan, counted only, and its training
# timed; a baseline is measured and trained
Do: TypeAlias = Literal[
    "evaluate", "train", "judge", "test", "foretell", "time_training", "compare"
]
Weights: TypeAlias = dict[str, Tensor]
Answer: TypeAlias = tuple[Record, Weights | None]  # weights where the candidate completed
STOPPED = "stopped by the user"


def attempt(
    run: Callable[..., Weights | None], spec: BackboneSpec | None, record: Record
) -> tuple[Weights | None, str | None]:
    """Fills in `record`; the weights, and the traceback of what a mixer's code raised. A
    baseline has no spec: its record names it.

    UsageError and EnvironmentProblem, of the data or the machine, pass through.
    """
    try:
        return (run(record) if spec is None else run(spec, record)), None
    except Interrupted:
        record.state, record.reason = TrialState.INTERRUPTED, STOPPED
    except (UsageError, EnvironmentProblem):
        raise
    except Exception as error:  # noqa: BLE001  # a mixer's code is anybody's and may raise anything
        record.state = TrialState.FAILED
        record.reason = f"{type(error).__name__}: {error}"
        return None, traceback.format_exc()
    return None, None
