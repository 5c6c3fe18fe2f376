"""Nearest known names, and the base classes of errors."""

from __future__ import annotations

import pytest

from mixers.errors import (
    InputError,
    MixerError,
    MixerFault,
    OptionError,
    PluginError,
    PluginsFileError,
    SignatureError,
    UnknownMixerError,
    nearest,
    nearest_names,
)


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


def test_only_a_users_mistake_is_a_value_error() -> None:
    """A mixer that is broken must not pass for a value that does not fit."""
    for error in (UnknownMixerError, OptionError, PluginsFileError):
        assert issubclass(error, MixerError)
        assert issubclass(error, InputError)
    for error in (PluginError, MixerFault, SignatureError):
        assert issubclass(error, MixerError)
        assert not issubclass(error, ValueError)
