"""`plugins.toml`: the project's say over the mixers that are installed."""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from mixers.errors import PluginError, PluginsFileError, did_you_mean, nearest, nearest_path

FILE_NAME = "plugins.toml"
_KEYS = ("schema", "allow", "block")


@dataclass(frozen=True)
class PluginRules:
    """Which distributions may give mixers; `allow` is None where everything installed may.

    `file` is where the rules stand, as it was named.
    """

    allow: dict[str, SpecifierSet] | None = None
    block: dict[str, SpecifierSet] = field(default_factory=dict)
    file: str = FILE_NAME

    def refusal(self, distribution: str, version: str) -> str | None:
        """Why this distribution's mixers may not be used, or None where they may."""
        name = canonicalize_name(distribution)
        if self.allow is not None:
            if name not in self.allow:
                return f"{distribution} is not in [allow] of {self.file}"
            if not self.allow[name].contains(version, prereleases=True):
                return f"{self.file} allows {distribution} {self.allow[name]}, not {version}"
        if name in self.block and self.block[name].contains(version, prereleases=True):
            return f"{self.file} blocks {distribution} {self.block[name]}".rstrip()
        return None


def read_plugin_rules(path: str | Path | None = None) -> PluginRules:
    """The rules of `path`, else of `plugins.toml` in the working directory, else none.

    PluginsFileError where the file is missing though named, is not TOML, or holds unknown keys;
    PluginError where this machine does not let it be read.
    """
    file = Path(path) if path is not None else Path(FILE_NAME)
    if path is None and not os.path.isfile(file):
        return PluginRules()
    text = _read_text(file)
    data = _parse(file, text)
    for key in data:
        if key not in _KEYS:
            words = f"unknown key; allowed: {', '.join(_KEYS)}{nearest(key, _KEYS)}"
            raise _mistake(file, text, ("", key), words)
    if "schema" not in data:
        raise PluginsFileError(f"{file}: schema: missing; allowed: schema = 1 as the first line")
    if type(data["schema"]) is not int or data["schema"] != 1:
        raise _mistake(file, text, ("", "schema"), f"got {_shown(data['schema'])}; allowed: 1")
    tables = {
        section: _read_versions(file, text, section, data[section])
        for section in ("allow", "block")
        if section in data
    }
    return PluginRules(tables.get("allow"), tables.get("block", {}), str(file))


def find_key_place(text: str, section: str, key: str) -> tuple[int, int] | None:
    """Line and column, from 1, where `key` of `[section]` stands; a section of "" is the top level.

    tomllib keeps no places, so this looks through the lines: for keys below their table's header,
    dotted keys, and tables on one line. None where the key is written in some other way.
    """
    name, table = _name_pattern(key), _name_pattern(section)
    plain = rf"\s*\[*\s*(?P<key>{name})\s*[=.\]]"
    dotted = rf"\s*\[*\s*{table}\s*\.\s*(?P<key>{name})\s*[=.\]]"
    one_line = rf"\s*{table}\s*=\s*\{{(?:.*[,\s])?(?P<key>{name})\s*="
    inside = ""
    for number, line in enumerate(text.split("\n"), start=1):
        header = re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line)
        if header:
            inside = header[1].strip("\"'")
            patterns = [dotted] if section else [plain]
        elif inside == section:
            patterns = [plain]
        else:
            patterns = [dotted, one_line] if not inside else []
        for pattern in patterns:
            if found := re.match(pattern, line):
                return number, found.start("key") + 1
    return None


def _name_pattern(name: str) -> str:
    return rf"[\"']?{re.escape(name)}[\"']?"


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


def _parse(file: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        words, _, place = str(error).partition(" (at ")
        numbers = re.match(r"line (\d+), column (\d+)", place)
        lines = text.rstrip("\n").split("\n")
        line, column = numbers.groups() if numbers else (len(lines), len(lines[-1]) + 1)
        words = words[:1].lower() + words[1:]
        raise PluginsFileError(f"{file}:{line}:{column}: not TOML: {words}") from None


def _read_versions(file: Path, text: str, section: str, table: Any) -> dict[str, SpecifierSet]:
    if not isinstance(table, dict):
        words = f"got {_shown(table)}; allowed: a table of distributions and versions"
        raise _mistake(file, text, ("", section), words)
    versions = {}
    for distribution, version in table.items():
        place = (section, distribution)
        if not isinstance(version, str):
            words = f"got {_shown(version)}; allowed: a version range as text, or '*'"
            raise _mistake(file, text, place, words)
        specifiers = _specifiers("" if version == "*" else version)
        if specifiers is None:
            meant = f"'=={version}'" if _specifiers(f"=={version}") is not None else None
            words = f"got {version!r}; allowed: a version range such as '>=1.2,<2', or '*'"
            raise _mistake(file, text, place, words + did_you_mean(meant))
        versions[str(canonicalize_name(distribution))] = specifiers
    return versions


def _specifiers(version: str) -> SpecifierSet | None:
    try:
        return SpecifierSet(version)
    except InvalidSpecifier:
        return None


def _mistake(file: Path, text: str, path: tuple[str, str], words: str) -> PluginsFileError:
    """The error at the key of that section, or at the section where the key is not found."""
    section, key = path
    place = find_key_place(text, section, key)
    if place is None and section:
        place = find_key_place(text, "", section)
    where = f"{file}:{place[0]}:{place[1]}" if place else str(file)
    return PluginsFileError(f"{where}: {section + '.' if section else ''}{key}: {words}")


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else json.dumps(value, default=str)
