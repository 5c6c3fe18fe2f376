"""Checks that a class expects to fail: shown with the reason, and failing nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from mixers import Site
from mixers.conformance import Status, check_mixer, parametrize_with_checks
from mixers.conformance._authors import BoundCheck

REASON = "quantised as in VQ-VAE: the gradient passes straight through"


class StraightThrough(nn.Module):
    """Rounds, and lets the gradient pass (van den Oord et al. 2017, arXiv:1711.00937, eq. 3)."""

    expected_failed_checks: ClassVar = {"gradient_values": REASON, "deepcopy": "it once failed"}

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x + (torch.round(x) - x).detach()


class Unaware(StraightThrough):
    expected_failed_checks: ClassVar = None


def test_an_expected_failure_is_shown_with_its_reason_and_what_was_found() -> None:
    (record,) = check_mixer(StraightThrough, only=["gradient_values"])
    assert record.status is Status.XFAIL
    assert record.detail.startswith(f"expected: {REASON}; evaluation: along a random direction")


def test_without_the_declaration_it_is_a_failure() -> None:
    (record,) = check_mixer(Unaware, only=["gradient_values"])
    assert record.status is Status.FAILED


def test_an_expected_failure_that_does_not_happen_is_shown_as_such() -> None:
    (record,) = check_mixer(StraightThrough, only=["deepcopy"])
    assert record.status is Status.XPASS
    assert record.detail == "passes, though expected to fail: it once failed"


def test_a_skipped_check_stays_skipped() -> None:
    class Skipping(StraightThrough):
        expected_failed_checks: ClassVar = {"fx": "never tried"}

    (record,) = check_mixer(Skipping, only=["fx"])
    assert record.status is Status.SKIPPED


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"gradiant_values": "why"}, "gradiant_values: no check .* did you mean gradient_values"),
        ({"signature": "why"}, "signature: no check that may be expected to fail"),
        ({"declarations": "why"}, "declarations: no check that may be expected to fail"),
        ({"macs": ""}, "macs: got ''; allowed: a reason in words"),
        ({"macs": None}, "macs: got None; allowed: a reason in words"),
        (["macs"], r"got \['macs'\]; allowed: a dict"),
        ("macs", "got 'macs'; allowed: a dict"),
        ({1: "why"}, "1: no check that may be expected to fail"),
    ],
)
def test_a_declaration_that_says_nothing_fails_and_excuses_nothing(
    declared: Any, words: str
) -> None:
    wrong = type("Wrong", (StraightThrough,), {"expected_failed_checks": declared})
    (found,) = check_mixer(wrong, only=["declarations"])
    assert found.status is Status.FAILED
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(found.detail)
    (record,) = check_mixer(wrong, only=["gradient_values"])
    assert record.status is Status.FAILED


def test_what_is_expected_is_listed_by_declarations() -> None:
    (record,) = check_mixer(StraightThrough, only=["declarations"])
    assert record.detail == "declares that gradient_values fails, that deepcopy fails"


@parametrize_with_checks(StraightThrough)
def test_in_an_authors_tests_they_are_xfail_and_xpass(
    check: Callable[[], None], request: pytest.FixtureRequest
) -> None:
    marks = [mark.kwargs for mark in request.node.iter_markers("xfail")]
    name = request.node.callspec.id
    reason = StraightThrough.expected_failed_checks.get(name)
    assert [mark["reason"] for mark in marks] == ([] if reason is None else [reason])
    if name in ("gradient_values", "deepcopy", "shapes"):
        check()


def test_a_bound_check_of_an_expected_failure_is_pytests_xfail() -> None:
    with pytest.raises(pytest.xfail.Exception, match="quantised as in VQ-VAE"):
        BoundCheck(StraightThrough, "gradient_values")()
