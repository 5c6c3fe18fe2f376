"""Records of candidates that failed, and the mixers that were in them."""

from __future__ import annotations

from typing import Any

from search.storage.records import TrialRecord, TrialState


def mixer(name: str, version: str = "1.0", files: str = "f") -> dict[str, Any]:
    distribution = name.partition("/")[0] if "/" in name else "metaformer-search"
    return {
        "name": name,
        "distribution": distribution,
        "version": version,
        "entry_point": name,
        "origin": "index",
        "files": files,
    }


MIXERS = [mixer(name) for name in ("a", "b", "c", "others/x")]


def trial(
    number: int, names: str, state: TrialState = TrialState.FAILED, **fields: Any
) -> TrialRecord:
    """A trial that failed; of a single mixer, that mixer's code is at fault."""
    return TrialRecord(
        **{
            "number": number,
            "state": state,
            "reason": "KeyError: 'x'" if state is TrialState.FAILED else "",
            "mixer_at_fault": names if state is TrialState.FAILED and " " not in names else None,
            "digest": f"d{number}",
            "mixers": [mixer(name) for name in names.split()],
            **fields,
        }
    )


def measured(number: int, names: str, state: TrialState = TrialState.REJECTED) -> TrialRecord:
    return trial(number, names, state, measurements=[{"mode": "train", "images_per_second": 5.0}])
