from __future__ import annotations

from typing import Annotated, Any

import pytest
from torch import nn

from mixers import Choice, SignatureError, Site
from mixers.builtin.window_attention import WindowAttention
from mixers.class_attributes import disallowed_reason, documentation, requirements


class Bare(nn.Module):
    pass


class Documented(nn.Module):
    """Mixes.

    A lot.
    """


class OfADocumented(Documented):
    pass


class OfAConvolution(nn.Conv2d):
    pass


@pytest.mark.parametrize("undocumented", [Bare, OfADocumented, OfAConvolution])
def test_a_class_without_a_docstring_has_no_documentation(undocumented: type) -> None:
    assert documentation(undocumented) == ""


def test_a_docstring_is_shown_without_its_indentation() -> None:
    assert documentation(Documented) == "Mixes.\n\nA lot."
    assert documentation(WindowAttention).startswith("Multi-head")


def test_a_docstring_that_is_no_text_is_none() -> None:
    assert documentation(type("Odd", (nn.Module,), {"__doc__": 7})) == ""


def with_requires(value: Any) -> type:
    return type("Mixer", (nn.Module,), {"requires": value})


def test_a_mixer_requires_nothing_by_default() -> None:
    assert requirements(Bare) == ()
    assert requirements(with_requires(("cuda",))) == ("cuda",)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("cuda", """got 'cuda'; allowed: a tuple of "cuda\""""),
        (["cuda"], "allowed: a tuple"),
        (True, "got True; allowed: a tuple"),
        (("gpu",), """got 'gpu'; allowed: "cuda\""""),
        (("cuda", "triton"), "got 'triton'"),
        ((7,), "got 7"),
    ],
)
def test_an_unknown_requirement_is_refused_with_those_that_are_known(
    value: Any, words: str
) -> None:
    with pytest.raises(SignatureError, match=words):
        requirements(with_requires(value))


def with_allows(answer: Any) -> type:
    return type("Mixer", (nn.Module,), {"allows": staticmethod(lambda site, **_: answer)})


def test_a_class_that_says_nothing_allows_every_site() -> None:
    assert disallowed_reason(Bare, Site(8, 4, 4), {}) is None
    assert disallowed_reason(with_allows(None), Site(8, 4, 4), {"size": 3}) is None


def test_the_reason_of_a_mixer_is_one_line() -> None:
    assert disallowed_reason(with_allows("too\n  small"), Site(8, 4, 4), {}) == "too small"


@pytest.mark.parametrize("answer", [True, False, 0, "", "  ", ["no"]])
def test_an_answer_that_is_neither_none_nor_a_reason_is_the_authors_mistake(answer: Any) -> None:
    with pytest.raises(TypeError, match="allows: returned .*; allowed: None, or a reason"):
        disallowed_reason(with_allows(answer), Site(8, 4, 4), {})


class ByMethod(nn.Module):
    def allows(self, site: Site) -> str | None:
        return None


class ByClass(nn.Module):
    limit = 6

    @classmethod
    def allows(cls, site: Site, *, size: Annotated[int, Choice(3, 5)] = 3) -> str | None:
        return None if size < cls.limit <= site.width else f"size {size} needs {cls.limit} columns"


def test_allows_is_a_static_or_class_method() -> None:
    with pytest.raises(TypeError, match="allows: got a method of the instance"):
        disallowed_reason(ByMethod, Site(8, 4, 4), {})
    assert disallowed_reason(ByClass, Site(8, 4, 4), {"size": 5}) == "size 5 needs 6 columns"
    assert disallowed_reason(ByClass, Site(8, 6, 6), {"size": 5}) is None
