"""What can be wrong with a mixer, a name or an option, in words for whoever must act."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest_of(name: object, known: Iterable[str]) -> str | None:
    """The known name that is meant, or None where none is close."""
    return next(iter(get_close_matches(str(name), list(known), n=1)), None)


def nearest(name: object, known: Iterable[str], *, count: int = 1) -> str:
    """`; did you mean X?`, up to `count` names, or nothing where no known name is close."""
    matches = get_close_matches(str(name), list(known), n=count)
    if not matches:
        return ""
    *others, last = matches
    return f"; did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


class InputError(ValueError):
    """Something that a user or an author wrote cannot stand; base of all such errors here."""


class MixerError(InputError):
    """Base of all that this package raises for a user's or an author's mistake."""


class UnknownMixerError(MixerError):
    """A spec names a mixer that no installed and allowed distribution provides."""


class OptionError(MixerError):
    """An option that the mixer does not take, or a value outside its domain."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(f"{option}: {message}")
        self.option = option
        self.message = message


class SignatureError(MixerError):
    """A mixer class whose constructor does not follow the contract."""


class PluginError(MixerError):
    """An installed mixer that cannot be used, or a `plugins.toml` that cannot be read."""
