from __future__ import annotations

from typing import Annotated, Any

import pytest
from torch import Tensor, nn

from mixers import Choice, Site
from mixers.conformance import CheckRecord, Status, check_mixer


class Grouped(nn.Module):
    """Its `allows` gives the reason, and its constructor would fail without words."""

    def __init__(self, site: Site, *, groups: Annotated[int, Choice(1, 16)] = 16) -> None:
        super().__init__()
        assert site.channels % groups == 0, "never asked for"
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1, groups=groups)

    @classmethod
    def allows(cls, site: Site, *, groups: int) -> str | None:
        return f"{groups} groups" if site.channels % groups else None

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def answering(method: Any) -> type[nn.Module]:
    return type("Answering", (Grouped,), {"allows": method, "__module__": __name__})


def record_of(mixer_class: type[nn.Module], check: str = "allows") -> CheckRecord:
    (record,) = check_mixer(mixer_class, only=[check])
    return record


@pytest.mark.parametrize("check", ["allows", "shapes", "options", "receptive_field"])
def test_a_site_that_a_mixer_does_not_allow_is_refused_and_its_constructor_not_called(
    check: str,
) -> None:
    assert record_of(Grouped, check).status is not Status.FAILED
    if check == "shapes":
        assert "20 channels on a map of 5×11 (16 groups)" in record_of(Grouped, check).detail


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (staticmethod(lambda site, groups: True), "TypeError: allows: returned True; allowed"),
        (staticmethod(lambda site: None), "unexpected keyword argument 'groups'"),
        (lambda self, site, groups: None, "got a method of the instance"),
        (staticmethod(lambda site, groups: 1 / 0), "ZeroDivisionError"),
    ],
)
def test_an_allows_that_breaks_the_contract_fails(method: Any, words: str) -> None:
    record = record_of(answering(method))
    assert record.status is Status.FAILED
    assert words in record.detail


def test_an_allows_that_answers_differently_each_time_fails() -> None:
    answers = iter(range(10_000))
    method = staticmethod(lambda site, groups: None if next(answers) % 2 else "not now")
    assert "allows answers 'not now', then None" in record_of(answering(method)).detail


def test_a_mixer_that_allows_no_site_cannot_be_used() -> None:
    record = record_of(answering(staticmethod(lambda site, groups: "never")), "options")
    assert record.status is Status.FAILED
    assert "refused at every site" in record.detail
