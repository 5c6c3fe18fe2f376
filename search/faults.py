"""What goes wrong in one network, which is anybody's code, and what goes wrong around it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.records import Record, TrialState

Found = TypeVar("Found")


def guarded(
    record: Record, evaluate: Callable[[], Found], log_error: Callable[[str, str], None]
) -> Found | None:
    """What `evaluate` gives; what goes wrong in the network ends up in `record`.

    UsageError and EnvironmentProblem, of the data or the machine, pass through.
    """
    try:
        return evaluate()
    except Interrupted:
        record.state, record.reason = TrialState.INTERRUPTED, "stopped by the user"
    except (UsageError, EnvironmentProblem):
        raise
    except Exception as error:  # noqa: BLE001  # a mixer's code is anybody's and may raise anything
        record.state = TrialState.FAILED
        record.reason = f"{type(error).__name__}: {error}"
        log_error(record.title, traceback.format_exc())
    return None
