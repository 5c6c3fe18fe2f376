from __future__ import annotations

from typing import Annotated, Any

import pytest

from mixers import Choice, IntRange, OptionError, SignatureError, Site, read_options
from mixers._signature import resolve_options


class Good:
    def __init__(
        self,
        site: Site,
        *,
        kernel_size: Annotated[int, Choice(3, 5, 7)] = 7,
        heads: Annotated[int, IntRange(1, 8)] = 2,
    ) -> None: ...


class NoSite:
    def __init__(self) -> None: ...


class PositionalOption:
    def __init__(self, site: Site, kernel_size: Annotated[int, Choice(3)] = 3) -> None: ...


class Unannotated:
    def __init__(self, site: Site, *, kernel_size=3) -> None: ...


class PlainAnnotation:
    def __init__(self, site: Site, *, kernel_size: int = 3) -> None: ...


class TwoDomains:
    def __init__(self, site: Site, *, k: Annotated[int, Choice(3), Choice(5)] = 3) -> None: ...


class NoDefault:
    def __init__(self, site: Site, *, kernel_size: Annotated[int, Choice(3)]) -> None: ...


class DefaultOutside:
    def __init__(self, site: Site, *, kernel_size: Annotated[int, Choice(3, 5)] = 4) -> None: ...


class Unreadable:
    def __init__(self, site: Site, *, size: Annotated[NotThere, Choice(1)] = 1) -> None: ...  # type: ignore[name-defined]  # noqa: F821


class Tunnel:
    def __init__(self, site: Site, **kwargs: Any) -> None: ...


def test_the_options_are_read_in_order_with_domain_and_default() -> None:
    kernel, heads = read_options(Good)
    assert (kernel.name, kernel.domain, kernel.default) == ("kernel_size", Choice(3, 5, 7), 7)
    assert (heads.name, heads.domain, heads.default) == ("heads", IntRange(1, 8), 2)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (NoSite, "the first parameter must be the site"),
        (PositionalOption, "must be keyword-only"),
        (Unannotated, "kernel_size has no legal values"),
        (PlainAnnotation, "kernel_size has no legal values"),
        (TwoDomains, "exactly one of Choice, IntRange, FloatRange"),
        (NoDefault, "kernel_size has no default"),
        (DefaultOutside, "the default of kernel_size: got 4; allowed: 3, 5"),
        (Unreadable, "an annotation cannot be read, name 'NotThere' is not defined; import"),
        (Tunnel, r"takes \*\*kwargs: .*; name every option"),
    ],
)
def test_a_constructor_that_breaks_the_contract_is_refused_in_words(
    broken: type, words: str
) -> None:
    with pytest.raises(SignatureError, match=words) as caught:
        read_options(broken)
    assert broken.__qualname__ in str(caught.value)


def test_options_are_filled_in_and_normalised() -> None:
    resolved = resolve_options(read_options(Good), {"heads": 4}, mixer="good")
    assert resolved == {"kernel_size": 7, "heads": 4}


def test_an_unknown_option_names_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(
        OptionError, match="unknown option; good takes kernel_size, heads"
    ) as caught:
        resolve_options(read_options(Good), {"kernal_size": 3}, mixer="good")
    assert caught.value.option == "kernal_size"
    assert "did you mean kernel_size?" in str(caught.value)


def test_an_illegal_value_names_the_legal_ones() -> None:
    with pytest.raises(OptionError, match="heads: got 9; allowed: integers from 1 to 8"):
        resolve_options(read_options(Good), {"heads": 9}, mixer="good")
