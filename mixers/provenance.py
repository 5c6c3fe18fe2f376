"""Origin of an installed mixer: index, folder or repository, and a digest of its files."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Publication:
    """A distribution's name and version, and the requirements that it states."""

    name: str
    version: str
    requires: tuple[str, ...]


def install_origin(distribution: Distribution) -> str:
    """`index`, or what direct_url.json says: `editable URL`, `git+URL@COMMIT`, `URL`. (PEP 610)"""
    try:
        text = distribution.read_text("direct_url.json")
        if text is None:
            return "index"
        said: dict[str, Any] = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return "unknown: direct_url.json is not JSON"
    sections = (said.get(key, {}) for key in ("vcs_info", "dir_info")) if _is_map(said) else [None]
    if not all(map(_is_map, sections)):
        return "unknown: direct_url.json is not as PEP 610 has it"
    url = said.get("url", "unknown")
    if "vcs_info" in said:
        version_control = said["vcs_info"]
        return f"{version_control.get('vcs', 'vcs')}+{url}@{version_control.get('commit_id')}"
    return f"editable {url}" if said.get("dir_info", {}).get("editable") else str(url)


def _is_map(value: object) -> bool:
    return isinstance(value, dict)


def files_digest(distribution: Distribution) -> str:
    """16 hexadecimal digits of the installed Python files, as RECORD lists their hashes.

    Empty for an editable install, whose files may change at any time.
    """
    try:
        rows = list(csv.reader((distribution.read_text("RECORD") or "").splitlines()))
    except (OSError, ValueError, csv.Error):
        return ""  # a RECORD that cannot be read says nothing of the files
    hashes = sorted(
        f"{row[0]} {row[1]}" for row in rows if len(row) > 1 and row[0].endswith(".py") and row[1]
    )
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16] if hashes else ""


def published(distribution: Distribution) -> Publication:
    """Return the metadata of a distribution; parsing takes long and is done once."""
    metadata = distribution.metadata
    requires = metadata.get_all("Requires-Dist") or distribution.requires or ()
    return Publication(metadata["Name"], metadata["Version"], tuple(requires))


def unmet_requirement(requires: Iterable[str], name: str, version: str) -> str | None:
    """The requirement among `requires` that is of `name` and that `version` does not meet."""
    for text in requires:
        begins = _NAME.match(text)
        if begins is None or canonicalize_name(begins[0]) != name:  # parsing it takes long too
            continue
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        try:
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
        except ValueError:  # a marker that means nothing here
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            return str(requirement)
    return None
