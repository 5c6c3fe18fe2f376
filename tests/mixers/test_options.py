from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixers import Choice, FloatRange, IntRange


def test_a_choice_takes_its_values_and_an_integer_for_a_float() -> None:
    assert Choice(3, 5, 7).normalise(5) == 5
    assert Choice(1.0, 2.0).normalise(2) == 2.0
    assert isinstance(Choice(1.0, 2.0).normalise(2), float)


@pytest.mark.parametrize("value", [4, "3", 3.0, True, None])
def test_a_choice_of_integers_refuses_other_values_and_names_the_legal_ones(value: object) -> None:
    with pytest.raises(ValueError, match="allowed: 1, 3, 5"):
        Choice(1, 3, 5).normalise(value)  # type: ignore[arg-type]


def test_true_and_one_are_different_values_of_a_choice() -> None:
    domain = Choice("auto", False, True)
    assert domain.normalise(True) is True
    with pytest.raises(ValueError, match="allowed: auto, false, true"):
        domain.normalise(1)


@given(
    low=st.integers(-50, 50), span=st.integers(0, 50), step=st.integers(1, 7), value=st.integers()
)
def test_an_int_range_takes_exactly_its_grid(low: int, span: int, step: int, value: int) -> None:
    domain = IntRange(low, low + span, step)
    if value in range(low, low + span + 1, step):
        assert domain.normalise(value) == value
    else:
        with pytest.raises(ValueError, match="allowed: integers from"):
            domain.normalise(value)


@given(low=st.floats(-10, 10), span=st.floats(0, 10), value=st.floats())
def test_a_float_range_takes_exactly_what_lies_inside(
    low: float, span: float, value: float
) -> None:
    domain = FloatRange(low, low + span)
    if low <= value <= low + span:
        assert domain.normalise(value) == value
    else:
        with pytest.raises(ValueError, match="allowed: numbers from"):
            domain.normalise(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", True])
def test_a_float_range_refuses_what_is_no_finite_number(value: object) -> None:
    with pytest.raises(ValueError, match="allowed: numbers from 0 to 2"):
        FloatRange(0, 2).normalise(value)  # type: ignore[arg-type]


def test_a_float_range_with_steps_takes_its_grid_only() -> None:
    domain = FloatRange(0.5, 2.0, step=0.5)
    assert domain.normalise(1.5) == 1.5
    with pytest.raises(ValueError, match="steps of 0.5"):
        domain.normalise(1.4)


def test_what_is_searched_is_narrower_than_what_is_legal() -> None:
    assert Choice(3, 5, 7, 9, search=(5, 7)).search_domain() == Choice(5, 7)
    assert IntRange(2, 64, search=(4, 8)).search_domain() == Choice(4, 8)
    assert FloatRange(0.0, 1.0, search=(0.5, 1)).search_domain() == Choice(0.5, 1.0)
    assert IntRange(2, 5).search_domain() == IntRange(2, 5)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Choice(),
        lambda: Choice(1, search=()),
        lambda: Choice(1, search=(2,)),
        lambda: IntRange(3, 2),
        lambda: IntRange(0, 4, log=True),
        lambda: IntRange(1, 4, search=(5,)),
        lambda: FloatRange(0.0, math.inf),
        lambda: FloatRange(0.0, 1.0, step=0.0),
        lambda: FloatRange(0.0, 1.0, log=True),
    ],
)
def test_a_domain_without_sense_is_refused_where_it_is_written(build: object) -> None:
    with pytest.raises(ValueError, match="."):
        build()  # type: ignore[operator]
