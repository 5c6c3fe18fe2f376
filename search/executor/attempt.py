"""One candidate evaluated in this process: what goes wrong with it ends up in its record."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Literal, TypeAlias

from torch import Tensor

from metaformer.spec import BackboneSpec
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.records import TrialRecord, TrialState

# put to the budgets and trained where it makes them; trained only; put to the budgets only
Do: TypeAlias = Literal["evaluate", "train", "judge"]
Weights: TypeAlias = dict[str, Tensor]
Answer: TypeAlias = tuple[TrialRecord, Weights | None]  # weights where the candidate completed
STOPPED = "stopped by the user"


def attempt(
    run: Callable[[BackboneSpec, TrialRecord], Weights | None],
    spec: BackboneSpec,
    record: TrialRecord,
) -> tuple[Weights | None, str | None]:
    """Fills in `record`; the weights, and the traceback of what a mixer's code raised.

    UsageError and EnvironmentProblem, of the data or the machine, pass through.
    """
    try:
        return run(spec, record), None
    except Interrupted:
        record.state, record.reason = TrialState.INTERRUPTED, STOPPED
    except (UsageError, EnvironmentProblem):
        raise
    except Exception as error:  # noqa: BLE001  # a mixer's code is anybody's and may raise anything
        record.state = TrialState.FAILED
        record.reason = f"{type(error).__name__}: {error}"
        return None, traceback.format_exc()
    return None, None
