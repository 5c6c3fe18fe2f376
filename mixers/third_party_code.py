"""Guard for third-party code: whatever it raises becomes one error with the author's line.

`call_guarded` runs such code, `error_text` describes an exception on one line and never raises, and
`author_line` finds the line of the author's code. The conformance suite and the search describe
exceptions by the same functions (docs/decisions/0022-blame.md).
"""

from __future__ import annotations

import dis
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Collection
from contextlib import redirect_stdout
from pathlib import Path
from typing import ParamSpec, TypeVar

MAX_TEXT = 300  # characters of an exception's message that are shown
_SITE_WORDS = r"channels?|height|width|map|stage|block|occurrence|dilation|site"
_OWN = Path(__file__).parent.parent
_OWN_FOLDERS = tuple(_OWN / name for name in ("mixers", "metaformer", "search"))
_BUILT_IN = _OWN / "mixers" / "builtin"
_LIBRARIES = ("torch", "torchvision", "timm", "numpy", "optuna", "click")
_STANDARD_LIBRARY = Path(traceback.__file__).parent
_RAISE = dis.opmap["RAISE_VARARGS"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class ThirdPartyError(Exception):
    """Third-party code raised; `__cause__` is the exception, the message describes it."""


def call_guarded(
    function: Callable[_Arguments, _Result],
    *arguments: _Arguments.args,
    **options: _Arguments.kwargs,
) -> _Result:
    """Call third-party code; what it prints goes to standard error.

    Raises:
        ThirdPartyError: The code raised anything at all, SystemExit and exceptions that are not
            `Exception` included; only Ctrl-C passes through.
    """
    try:
        with redirect_stdout(sys.stderr):
            return function(*arguments, **options)
    except BaseException as error:  # SystemExit(0) would end the command as if all were well
        if is_interrupt(error):
            raise
        raise ThirdPartyError(described(error)) from error


def is_interrupt(error: BaseException) -> bool:
    """Return whether `error` is Ctrl-C: a KeyboardInterrupt that no statement of an author raised.

    A signal interrupts between two instructions; an author's own is raised by one.
    """
    if type(error) is not KeyboardInterrupt:
        return False
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return True
    code = last.tb_frame.f_code
    return not is_author_file(Path(code.co_filename)) or code.co_code[last.tb_lasti] != _RAISE


def described(error: BaseException) -> str:
    """Type and message of an exception on one line, and the line of the author's code."""
    line = author_line(error)
    return f"{error_text(error)}, at {line}" if line else error_text(error)


def error_text(error: BaseException) -> str:
    """Type and message of an exception on one line; never raises, whatever its methods do."""
    try:
        message = str(error)
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    except BaseException as second:  # its __str__ is third-party code too
        if is_interrupt(second):
            raise
        message, notes = "its message cannot be read", ""
    message = one_line(message + notes)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def one_line(text: str, limit: int = MAX_TEXT) -> str:
    """`text` on one line, without control characters, and of at most `limit` characters."""
    beginning = text[: 4 * limit]
    words = " ".join(beginning.split())
    printable = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words
    )
    if len(printable) <= limit and len(beginning) == len(text):
        return printable
    return f"{printable[: limit - 3]}..."


def author_line(error: BaseException) -> str:
    """`FILE:LINE in FUNCTION: CODE`, the last line of the author's code; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename and is_author_file(Path(error.filename)):
        return f"{error.filename}:{error.lineno}: {one_line(error.text or '')}"
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if is_author_file(Path(frame.f_code.co_filename))
    ]
    if not frames:
        return ""
    found = traceback.StackSummary.extract(iter(frames[-1:]))[0]
    return f"{found.filename}:{found.lineno} in {found.name}: {one_line(found.line or '')}"


def is_author_file(file: Path) -> bool:
    """Return whether a file may be an author's: not this project's, torch's or Python's."""
    if not file.is_absolute():
        return False
    if any(file.is_relative_to(folder) for folder in _OWN_FOLDERS):
        return file.is_relative_to(_BUILT_IN)
    if any(file.is_relative_to(folder) for folder in _library_folders()):
        return False
    return not file.is_relative_to(_STANDARD_LIBRARY) or "site-packages" in file.parts


def _library_folders() -> list[Path]:
    modules = (sys.modules.get(name) for name in _LIBRARIES)
    return [Path(module.__file__).parent for module in modules if module and module.__file__]


def definition_line(mixer_class: type) -> str:
    """`FILE:LINE`, where the constructor of a class is defined; empty if that is not known."""
    try:
        function = inspect.unwrap(mixer_class.__init__)  # type: ignore[misc]  # read, not called
        return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
    except AttributeError:
        return ""


def is_refusal(error: BaseException, options: Collection[str]) -> bool:
    """Return whether a constructor's exception says that its options do not fit the site.

    Such is a ValueError that names one of the `options` or a property of the site; any other
    exception is the author's mistake.
    """
    if not isinstance(error, ValueError):
        return False
    names = "|".join([_SITE_WORDS, *map(re.escape, options)])
    return re.search(rf"\b({names})\b", error_text(error)) is not None
