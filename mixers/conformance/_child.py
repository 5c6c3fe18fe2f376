"""Checks told as they happen, so that a parent knows in which one a process died.

One JSON line per event: `{"begin": name}`, then the record of that check; at last `{"end": true}`.
The first is `import`, which has a record only if the mixer cannot be had.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import TextIO

from torch import nn

from mixers._registry import load_registry
from mixers.conformance._mixer_under_test import MixerUnderTest
from mixers.conformance._names import IMPORT, names_of
from mixers.conformance._suite import run_check
from mixers.conformance.records import CheckRecord, Status
from mixers.errors import MixerError
from mixers.third_party_code import described, is_interrupt


def run_checks(
    name: str,
    plugins: str | Path | None = None,
    *,
    skip: Collection[str] = (),
    only: Collection[str] | None = None,
    device: str | None = None,
    descriptor: int,
) -> None:
    """Every check, or those of `only`, less `skip`, of the installed mixer of that name."""
    with os.fdopen(descriptor, "w", encoding="utf-8") as lines:
        _tell(lines, {"begin": IMPORT})
        found = _import(name, plugins)
        if isinstance(found, CheckRecord):
            _tell(lines, found.to_data())
        else:
            subject = MixerUnderTest(found, device)
            for check in names_of(only):
                if check not in skip:
                    _tell(lines, {"begin": check})
                    _tell(lines, run_check(check, subject).to_data())
        _tell(lines, {"end": True})


def _tell(lines: TextIO, event: dict[str, str] | dict[str, bool]) -> None:
    lines.write(json.dumps(event) + "\n")
    lines.flush()


def _import(name: str, plugins: str | Path | None) -> type[nn.Module] | CheckRecord:
    """The mixer's class, its constructor read; a FAILED record with the reason otherwise."""
    try:
        entry = load_registry(plugins)[name]
        entry.options  # noqa: B018 -- reads the constructor
        return entry.mixer_class
    except MixerError as error:
        return CheckRecord(IMPORT, Status.FAILED, str(error))
    except BaseException as error:  # reading an annotation may raise anything
        if is_interrupt(error):
            raise
        return CheckRecord(IMPORT, Status.FAILED, described(error))
