"""One network evaluated in this process: what goes wrong with it ends up in its record."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from metaformer.mixer_faults import mixer_at_fault
from metaformer.spec import BackboneSpec
from mixers import MixerFault, MixerRegistry
from mixers.third_party_code import error_text
from search.errors import EnvironmentProblem, Interrupted, UsageError
from search.storage.records import Record, TrialState
from search.workers.interface import Weights

STOPPED = "stopped by the user"


def attempt(
    run: Callable[..., Weights | None],
    spec: BackboneSpec | None,
    record: Record,
    registry: MixerRegistry,
) -> tuple[Weights | None, str | None]:
    """Fills in `record`; the weights, and the traceback of what went wrong. A baseline has no
    spec: its record names it.

    UsageError and EnvironmentProblem, of the data or the machine, pass through, and so does what
    is no `Exception`, unless a mixer's code raised it.
    """
    try:
        return (run(record) if spec is None else run(spec, record)), None
    except Interrupted:
        record.state, record.reason = TrialState.INTERRUPTED, STOPPED
    except (UsageError, EnvironmentProblem):
        raise
    except BaseException as error:  # of a mixer's code, SystemExit is a failure too
        if not put_blame(error, spec, record, registry) and not isinstance(error, Exception):
            raise
        return None, "".join(traceback.format_exception(error))
    return None, None


def put_blame(
    error: BaseException, spec: BackboneSpec | None, record: Record, registry: MixerRegistry
) -> bool:
    """Set the state and reason of a record that failed; return whether a mixer is at fault."""
    fault = error if isinstance(error, MixerFault) else mixer_at_fault(error, registry, spec)
    record.state = TrialState.FAILED
    record.reason = error_text(error) if fault is None else str(fault)
    record.mixer_at_fault = None if fault is None else fault.mixer
    return fault is not None
