"""Nearest known names."""

from __future__ import annotations

import pytest

from mixers.errors import nearest, nearest_names


@pytest.mark.parametrize(
    ("given", "known"),
    [("mien", "mine"), ("kernal_size", "kernel_size"), ("cdua", "cuda"), ("attn_wind", "attn_wnd"),
     ("pool", "pooling"), ("windw", "window")],
)  # fmt: skip
def test_a_slip_is_answered_with_what_is_meant(given: str, known: str) -> None:
    assert nearest_names(given, ["unlike", known]) == [known]


@pytest.mark.parametrize("given", ["x", "abc", "tv", "zz", "nonsense", ""])
def test_nothing_is_suggested_if_nothing_is_near(given: str) -> None:
    assert nearest(given, ["acc", "xy", "swin_t", "tovo", "conv", "inception_dw"]) == ""
