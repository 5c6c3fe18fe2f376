from __future__ import annotations

from collections.abc import Callable

import pytest
from broken import broken

from mixers.builtin.pooling import Pooling
from mixers.conformance import CHECK_NAMES, parametrize_with_checks
from mixers.conformance._authors import BoundCheck


@parametrize_with_checks(Pooling)
def test_conformance(check: Callable[[], None]) -> None:
    check()


def test_the_tests_bear_the_names_of_the_checks() -> None:
    mark = parametrize_with_checks(Pooling).mark
    assert mark.args[0] == "check"
    assert tuple(parameter.id for parameter in mark.args[1]) == CHECK_NAMES


def test_a_check_that_fails_says_what_of_which_mixer() -> None:
    with pytest.raises(AssertionError, match="Broken fails train_and_eval: evaluation changes the"):
        BoundCheck(broken("train_and_eval"), "train_and_eval")()


def test_a_check_that_does_not_apply_skips_the_test() -> None:
    with pytest.raises(pytest.skip.Exception, match="supports_dilation is not declared"):
        BoundCheck(Pooling, "dilation")()
