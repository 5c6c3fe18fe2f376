"""`plugins.toml`: the project's say over the mixers that are installed."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from mixers.errors import PluginError, nearest

FILE_NAME = "plugins.toml"
_KEYS = ("schema", "allow", "block")


@dataclass(frozen=True)
class PluginRules:
    """Which distributions may give mixers; `allow` is None where everything installed may."""

    allow: dict[str, SpecifierSet] | None = None
    block: dict[str, SpecifierSet] = field(default_factory=dict)

    def refusal(self, distribution: str, version: str) -> str | None:
        """Why this distribution's mixers may not be used, or None where they may."""
        name = canonicalize_name(distribution)
        if self.allow is not None:
            if name not in self.allow:
                return f"{distribution} is not in [allow] of {FILE_NAME}"
            if not self.allow[name].contains(version, prereleases=True):
                return f"{FILE_NAME} allows {distribution} {self.allow[name]}, not {version}"
        if name in self.block and self.block[name].contains(version, prereleases=True):
            return f"{FILE_NAME} blocks {distribution} {self.block[name]}".rstrip()
        return None


def read_plugin_rules(path: str | Path | None = None) -> PluginRules:
    """The rules of `path`, else of `plugins.toml` in the working directory, else none.

    PluginError where the file is missing though named, is not TOML, or holds unknown keys.
    """
    file = Path(path) if path is not None else Path(FILE_NAME)
    if path is None and not file.is_file():
        return PluginRules()
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PluginError(f"{file}: {error}") from None
    for key in data:
        if key not in _KEYS:
            allowed = ", ".join(_KEYS)
            raise PluginError(
                f"{file}: {key}: unknown key; allowed: {allowed}{nearest(key, _KEYS)}"
            )
    if type(data.get("schema")) is not int or data["schema"] != 1:
        raise PluginError(f"{file}: schema: got {data.get('schema')!r}; allowed: 1")
    allow = _read_versions(file, "allow", data["allow"]) if "allow" in data else None
    return PluginRules(allow, _read_versions(file, "block", data.get("block", {})))


def _read_versions(file: Path, section: str, table: Any) -> dict[str, SpecifierSet]:
    if not isinstance(table, dict):
        raise PluginError(f"{file}: {section}: must be a table of distributions and versions")
    versions = {}
    for distribution, version in table.items():
        where = f"{file}: {section}.{distribution}"
        if not isinstance(version, str):
            raise PluginError(f"{where}: got {version!r}; allowed: a version range as text, or '*'")
        try:
            versions[str(canonicalize_name(distribution))] = SpecifierSet(
                "" if version == "*" else version
            )
        except InvalidSpecifier:
            raise PluginError(
                f"{where}: got {version!r}; allowed: a version range such as '>=1.2,<2', or '*'"
            ) from None
    return versions
