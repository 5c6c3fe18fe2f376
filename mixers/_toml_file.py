"""A TOML file whose mistakes are told with line and column, which tomllib does not keep."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixers.errors import PluginError, PluginsFileError, did_you_mean, nearest, nearest_path

_KEY = re.compile(r"\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<bare>[A-Za-z0-9_-]+)")


@dataclass(frozen=True)
class TomlFile:
    """A TOML file: its name as it was given, its text and its data.

    Mistakes in it are collected, so that one message can name them all: `noting` collects those
    that are raised in its context, `require_sound` raises them together.
    """

    name: str
    text: str
    data: dict[str, Any]
    mistakes: list[PluginsFileError] = field(default_factory=list)

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Collect a PluginsFileError that is raised in this context."""
        try:
            yield
        except PluginsFileError as mistake:
            self.mistakes.append(mistake)

    def require_sound(self) -> None:
        """Raise one PluginsFileError for all mistakes so far, a line each, by their place."""
        found = {str(mistake): mistake.place for mistake in self.mistakes}
        if found:
            raise PluginsFileError("\n".join(sorted(found, key=lambda words: found[words])))

    def place(self, *path: str) -> str:
        """`FILE:LINE:COLUMN` of the key at `path`, or of the nearest table around it that is
        found, else `FILE`."""
        found = self._nearest_place(path)
        return self.name if found is None else f"{self.name}:{found[0]}:{found[1]}"

    def _nearest_place(self, path: tuple[str, ...]) -> tuple[int, int] | None:
        places = (find_place(self.text, path[:end]) for end in range(len(path), 0, -1))
        return next((place for place in places if place is not None), None)

    def mistake(self, path: tuple[str, ...], words: str) -> PluginsFileError:
        """The error at the key of `path`."""
        place = self._nearest_place(path) or (0, 0)
        return PluginsFileError(f"{self.place(*path)}: {'.'.join(path)}: {words}", place=place)

    def table(self, *path: str, allowed: str) -> dict[str, Any]:
        """The table at `path`, empty if there is none; `allowed` says what it is a table of.

        Anything else there is collected as a mistake, and counts as empty.
        """
        value: Any = self.data
        for part in path:
            value = value.get(part, {}) if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            self.mistakes.append(self.mistake(path, f"got {shown(value)}; allowed: {allowed}"))
            return {}
        return value

    def require_known(
        self, path: tuple[str, ...], keys: Iterable[str], known: Iterable[str]
    ) -> None:
        """Collect a mistake for each of `keys` that is not among `known`."""
        known = list(known)
        for key in keys:
            if key not in known:
                words = f"unknown key; allowed: {', '.join(known)}{nearest(key, known)}"
                self.mistakes.append(self.mistake((*path, key), words))


def read_toml(file: Path) -> TomlFile:
    """PluginsFileError if it is missing or not TOML, PluginError if it may not be read."""
    # opening a pipe waits for a writer, which only that of a shell's <(...) is sure to have
    if file.is_fifo() and not str(file).startswith("/dev/"):
        raise PluginsFileError(f"{file}: got a pipe; allowed: a TOML file")
    text = _read_text(file)
    try:
        return TomlFile(str(file), text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        words, _, place = str(error).partition(" (at ")
        numbers = re.match(r"line (\d+), column (\d+)", place)
        lines = text.rstrip("\n").split("\n")
        line, column = numbers.groups() if numbers else (len(lines), len(lines[-1]) + 1)
        words = words[:1].lower() + words[1:]
        raise PluginsFileError(f"{file}:{line}:{column}: not TOML: {words}") from None
    except RecursionError:
        raise PluginsFileError(f"{file}: nested too deeply") from None
    except ValueError as error:  # such as a number of thousands of digits
        words = str(error).partition(";")[0]
        raise PluginsFileError(f"{file}: not TOML that can be read: {words}") from None


def _read_text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        words = f"no such file{did_you_mean(nearest_path(file))}"
        raise PluginsFileError(f"{file}: {words}") from None
    except IsADirectoryError:
        raise PluginsFileError(f"{file}: got a folder; allowed: a TOML file") from None
    except OSError as error:
        raise PluginError(f"{file}: {(error.strerror or str(error)).lower()}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        words = "not text: TOML must be UTF-8"
        raise PluginsFileError(f"{file}:{line}:{column}: {words}") from None


def find_place(text: str, path: tuple[str, ...]) -> tuple[int, int] | None:
    """Line and column, from 1, of the key or table header at `path`.

    Looks through the lines: headers, keys, dotted keys, and keys of a table on one line. None
    if the key is written in some other way.
    """
    header: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), start=1):
        start = len(line) - len(line.lstrip(" \t["))
        keys, end = _keys(line, start)
        if not keys:
            continue
        if line.lstrip().startswith("["):
            header = tuple(name for name, _ in keys)
            if header == path:
                return number, keys[-1][1] + 1
            continue
        if not line[end:].lstrip().startswith("="):
            continue
        written = (*header, *(name for name, _ in keys))
        if written == path:
            return number, keys[-1][1] + 1
        if written == path[: len(written)]:
            column = _inside(line, end, path[len(written) :])
            if column is not None:
                return number, column + 1
    return None


def _keys(line: str, start: int) -> tuple[list[tuple[str, int]], int]:
    """The dotted keys that begin at `start`, each with its column from 0, and where they end."""
    keys: list[tuple[str, int]] = []
    while match := _KEY.match(line, start):
        keys.append((next(v for v in match.groups() if v is not None), match.start()))
        start = match.end()
        dot = re.compile(r"\s*\.\s*").match(line, start)
        if dot is None:
            break
        start = dot.end()
    return keys, start


def _inside(line: str, start: int, path: tuple[str, ...]) -> int | None:
    """The column of the key at `path` of a table that is written on this line."""
    column = None
    for part in path:
        pattern = re.compile(rf"[{{,]\s*([\"']?{re.escape(part)}[\"']?)\s*[=.]")
        found = pattern.search(line, start)
        if found is None:
            return None
        column, start = found.start(1), found.end() - 1
    return column


def shown(value: Any) -> str:
    """A value for a message, as TOML writes it."""
    return repr(value) if isinstance(value, str) else json.dumps(value, default=str)
