"""What is wrong with a spec, and where: file, line, column, the line itself and a caret."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


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
    """One thing that is wrong: where in the spec, what was got and what is allowed."""

    path: str
    message: str
    mark: Mark | None = None

    def __str__(self) -> str:
        words = f"{self.path}: {self.message}" if self.path else self.message
        if self.mark is None:
            return words
        lines = [f"{self.mark}: {words}"]
        if self.mark.text.strip() and len(self.mark.text) <= 200:
            lines.append(f"    {self.mark.text}")
            lines.append("    " + " " * (self.mark.column - 1) + "^")
        return "\n".join(lines)


class SpecError(ValueError):
    """A YAML file or a spec that cannot stand; `problems` holds all that was found."""

    def __init__(self, problems: Sequence[Problem] | Problem) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def format_path(parts: Sequence[str | int]) -> str:
    """`("stages", 2, "mixer")` as `stages[2].mixer`."""
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path
