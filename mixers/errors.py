"""Exceptions about mixers, names and options, with messages for the person who must act."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


def nearest_names(name: object, known: Iterable[str], *, count: int = 1) -> list[str]:
    """Up to `count` known names that may be meant, the most alike first.

    A short name must be more alike than a long one, since any three letters have neighbours;
    the beginning of a known name counts from three letters on.
    """
    given, names = str(name), list(known)
    cutoff = 0.75 if len(given) <= 4 else 0.6
    found = get_close_matches(given, names, n=count, cutoff=cutoff)
    if not found and len(given) >= 3:
        found = sorted((one for one in names if one.startswith(given)), key=len)[:count]
    return found


def nearest(name: object, known: Iterable[str], *, count: int = 1) -> str:
    """`; did you mean X?`, up to `count` names, or nothing if no known name is close."""
    return did_you_mean(*nearest_names(name, known, count=count))


def nearest_name(name: object, known: Iterable[str]) -> str | None:
    """The known name that is meant, or None if none is close."""
    return next(iter(nearest_names(name, known)), None)


def nearest_path(path: str | Path, *, folder: bool = False) -> str | None:
    """A file, or a folder, that is there and differs from `path` by one name alike."""
    wrong = Path(path)
    rest = Path()
    while not os.path.isdir(wrong.parent) and wrong != wrong.parent:
        wrong, rest = wrong.parent, wrong.name / rest
    exists = os.path.isdir if folder else os.path.isfile
    try:
        names = os.listdir(wrong.parent)
    except OSError:
        return None
    there = {name: str(wrong.parent / name / rest) for name in names}
    there = {name: found for name, found in there.items() if exists(found)}
    return there.get(nearest_name(wrong.name, there) or "")


def did_you_mean(*answers: str | None) -> str:
    """`; did you mean A, B or C?` of the answers that there are."""
    given = [answer for answer in answers if answer]
    if not given:
        return ""
    *others, last = given
    return f"; did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


class InputError(ValueError):
    """Invalid input of a user. Base class of all such errors."""


class MixerError(Exception):
    """Base class of the errors of this package. Those about a user's input are `InputError` too."""


class UnknownMixerError(MixerError, InputError):
    """A spec names a mixer that no installed and allowed distribution provides."""


class OptionError(MixerError, InputError):
    """Options that the mixer does not take, or values outside their domains.

    `problems` has all of them as (option, message), `option` and `message` the first.
    """

    def __init__(self, option: str, message: str, *others: tuple[str, str]) -> None:
        self.problems = ((option, message), *others)
        super().__init__("; ".join(f"{name}: {words}" for name, words in self.problems))
        self.option = option
        self.message = message


class SignatureError(MixerError):
    """A mixer class whose constructor does not follow the contract."""


class PluginError(MixerError):
    """An installed mixer that cannot be used, or a `plugins.toml` that may not be read."""


class MixerFault(PluginError):
    """A mistake in a mixer's own code: it raised, or returned what breaks the contract.

    Attributes:
        mixer: Canonical name of the mixer.
        message: What is wrong, without a place.
        path: Where the mixer is used in a spec, such as `stages[1].mixer`; empty if not known.
    """

    def __init__(self, mixer: str, message: str, *, path: str = "", shown: str = "") -> None:
        """`shown` is the text of the error, if it says more than `path` and `message`."""
        super().__init__(shown or (f"{path}: {message}" if path else message))
        self.mixer = mixer
        self.message = message
        self.path = path


class PluginsFileError(MixerError, InputError):
    """A `plugins.toml` is missing though it was named, or invalid.

    Attributes:
        place: Line and column of the mistake, from 1; (0, 0) if it has none.
    """

    def __init__(self, message: str, *, place: tuple[int, int] = (0, 0)) -> None:
        super().__init__(message)
        self.place = place
