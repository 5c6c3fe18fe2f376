"""Whatever third-party code raises is described on one line, with the author's own line."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from typing import Any

import pytest

from mixers.third_party_code import (
    MAX_TEXT,
    ThirdPartyError,
    author_line,
    call_guarded,
    error_text,
    is_refusal,
)


class Odd(BaseException):
    def __str__(self) -> str:
        raise SystemExit(0)


class OfTheAuthor(KeyboardInterrupt):
    pass


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(0),
        GeneratorExit(),
        StopIteration(),
        MemoryError("no table"),
        RecursionError(),
        OfTheAuthor(),
        KeyboardInterrupt(),  # that no signal raised
        Odd(),
        UserWarning("as an error"),
        ExceptionGroup("several", [KeyError(1)]),
    ],
)
def test_anything_that_is_raised_becomes_one_error_with_the_authors_line(
    error: BaseException,
) -> None:
    def author() -> None:
        raise error

    with pytest.raises(ThirdPartyError) as caught:
        call_guarded(author)
    assert str(caught.value).startswith(type(error).__name__)
    assert str(caught.value).endswith("in author: raise error")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("busy", ["time.sleep(9)", "while True: pass", "[i for i in forever]"])
def test_ctrl_c_passes_through(busy: str) -> None:
    """Whatever an author's code does when the signal comes."""
    code: dict[str, Any] = {"time": time, "forever": itertools.count()}
    exec(compile(f"def work():\n    {busy}", "/home/author/m.py", "exec"), code)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist ignores it
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call_guarded(code["work"])
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)


def test_what_is_printed_goes_to_the_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert call_guarded(lambda: print("thank you") or 7) == 7
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "thank you\n")
    assert sys.stdout is not sys.stderr


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("two\r\nlines\tand tabs", "two lines and tabs"),
        ("a\x1b[31mred", "a\N{REPLACEMENT CHARACTER}[31mred"),
        (
            "right\u202eto left \udc80",
            "right\N{REPLACEMENT CHARACTER}to left \N{REPLACEMENT CHARACTER}",
        ),
        ("", ""),
    ],
)
def test_a_message_is_shown_on_one_line_without_control_characters(
    message: str, shown: str
) -> None:
    assert error_text(ValueError(message)) == (f"ValueError: {shown}" if shown else "ValueError")


def test_a_huge_message_is_cut() -> None:
    text = error_text(ValueError("x" * 10_000_000))
    assert len(text) == MAX_TEXT + len("ValueError: ")
    assert text.endswith("x...")


def test_a_message_that_cannot_be_read_is_said_to_be_so() -> None:
    assert error_text(Odd()) == "Odd: its message cannot be read"


def test_the_line_of_a_syntax_error_is_that_of_its_file() -> None:
    with pytest.raises(SyntaxError) as caught:
        compile("class M(\n", "/home/author/m.py", "exec")
    assert author_line(caught.value) == "/home/author/m.py:1: class M("


@pytest.mark.parametrize(
    ("error", "refuses"),
    [
        (ValueError("channels: got 6; allowed: multiples of 4"), True),
        (ValueError("num_groups 3 does not divide 8"), True),
        (ValueError("the map is too small"), True),
        (ValueError("invalid literal for int(): 'seven'"), False),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), False),
        (TypeError("num_groups must be an int"), False),
        (KeyError("channels"), False),
    ],
)
def test_a_refusal_is_a_value_error_that_names_an_option_or_the_site(
    error: BaseException, refuses: bool
) -> None:
    assert is_refusal(error, ["num_groups"]) is refuses
