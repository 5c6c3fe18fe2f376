"""The suite as tests of an author's own, for pytest."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from torch import nn

from mixers.conformance._declarations import expected_failures
from mixers.conformance._names import CHECK_NAMES
from mixers.conformance._suite import check_mixer
from mixers.conformance.records import Status

if TYPE_CHECKING:
    import pytest


class BoundCheck:
    """One check of one mixer; calling it passes, skips or fails the test."""

    def __init__(self, mixer_class: type[nn.Module], name: str) -> None:
        self.mixer_class = mixer_class
        self.name = name

    def __call__(self) -> None:
        """AssertionError if the mixer fails, pytest's skip if the check does not apply, and its
        xfail if the class expects the failure; what a warning says is warned."""
        __tracebackhide__ = True
        import pytest

        (record,) = check_mixer(self.mixer_class, only=[self.name])
        if record.status is Status.SKIPPED:
            pytest.skip(record.detail)
        if record.status is Status.XFAIL:
            pytest.xfail(record.detail)
        if record.status is Status.WARNING:
            warnings.warn(f"{record.check}: {record.detail}", stacklevel=2)
        if record.status is Status.FAILED:
            mixer = getattr(self.mixer_class, "__qualname__", repr(self.mixer_class))
            raise AssertionError(f"{mixer} fails {record.check}: {record.detail}")


def parametrize_with_checks(mixer_class: type[nn.Module]) -> pytest.MarkDecorator:
    """A decorator that gives a test function each check in turn, as its argument `check`."""
    import pytest

    expected = expected_failures(mixer_class)
    checks = []
    for name in CHECK_NAMES:
        # strict: False, so that a check that passes all the same is shown as XPASS
        marks = [pytest.mark.xfail(reason=expected[name], strict=False)] if name in expected else []
        checks.append(pytest.param(BoundCheck(mixer_class, name), id=name, marks=marks))
    return pytest.mark.parametrize("check", checks)
