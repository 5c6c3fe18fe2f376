"""Mistakes in a spec with their place: file, line, column, the line itself and a caret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mixers.errors import InputError

SHOWN_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; `line` and `column` count from 1, `text` is that line.

    Line 0 is for what comes from no file; `source` then says from where.
    """

    source: str
    line: int
    column: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where in the spec, what was got and what is allowed.

    `mixer` is the canonical name of the mixer that refused, if one did; `is_fault` says that its
    code is at fault, not what was asked of it.
    """

    path: str
    message: str
    mark: Mark | None = None
    mixer: str = ""
    is_fault: bool = False

    def __str__(self) -> str:
        words = f"{self.path}: {self.message}" if self.path else self.message
        if self.mark is None:
            return words
        lines = [f"{self.mark}: {words}"]
        if self.mark.text.strip() and len(self.mark.text) <= 200:
            lines.append(f"    {self.mark.text}")
            lines.append("    " + " " * (self.mark.column - 1) + "^")
        return "\n".join(lines)


class SpecError(InputError):
    """A YAML file or a spec that cannot stand; `problems` holds all that was found."""

    def __init__(self, problems: Sequence[Problem] | Problem) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        lines = [str(problem) for problem in self.problems[:SHOWN_PROBLEMS]]
        if len(self.problems) > SHOWN_PROBLEMS:
            lines.append(f"and {len(self.problems) - SHOWN_PROBLEMS} more")
        super().__init__("\n".join(lines))


class FieldError(ValueError):
    """Fields that are legal each, but not together; `path` leads to the one to name."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


def distinct(problems: Iterable[Problem]) -> list[Problem]:
    """The first of the problems that one place makes, in several stages or several backbones.

    In the order of the file's lines; what has no place in a file comes last.
    """
    kept: dict[object, Problem] = {}
    for problem in problems:
        mark = problem.mark
        key: object = problem
        if mark is not None and mark.line:
            key = (mark, re.sub(r"\[\d+\]", "", problem.path))
        kept.setdefault(key, problem)
    return sorted(kept.values(), key=_place)


def _place(problem: Problem) -> tuple[bool, str, int, int]:
    mark = problem.mark
    if mark is None or not mark.line:
        return True, "", 0, 0
    return False, mark.source, mark.line, mark.column


def shorten(value: Any) -> str:
    """A value for an error message, as YAML writes it and of at most 60 characters."""
    text = _as_yaml(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _as_yaml(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_as_yaml(item) for item in value) + "]"
    return repr(value)


def parse_path(path: str) -> tuple[str | int, ...]:
    """`stages[2].mixer` as `("stages", 2, "mixer")`."""
    parts = re.findall(r"[^.\[\]]+", path)
    return tuple(int(part) if part.isdigit() else part for part in parts)


def format_path(parts: Sequence[str | int]) -> str:
    """`("stages", 2, "mixer")` as `stages[2].mixer`."""
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
