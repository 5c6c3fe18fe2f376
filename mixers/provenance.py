"""Where an installed mixer came from: index, folder or repository, and its files."""

from __future__ import annotations

import csv
import hashlib
import json
from importlib.metadata import Distribution
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


def install_origin(distribution: Distribution) -> str:
    """`index`, or what direct_url.json says: `editable URL`, `git+URL@COMMIT`, `URL`. (PEP 610)"""
    text = distribution.read_text("direct_url.json")
    if text is None:
        return "index"
    try:
        said: dict[str, Any] = json.loads(text)
    except ValueError:
        return "unknown: direct_url.json is not JSON"
    url = said.get("url", "unknown")
    if "vcs_info" in said:
        version_control = said["vcs_info"]
        return f"{version_control.get('vcs', 'vcs')}+{url}@{version_control.get('commit_id')}"
    return f"editable {url}" if said.get("dir_info", {}).get("editable") else str(url)


def files_digest(distribution: Distribution) -> str:
    """16 hexadecimal digits of the installed Python files, as RECORD lists their hashes.

    Empty for an editable install, whose files may change at any time.
    """
    rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
    hashes = sorted(
        f"{row[0]} {row[1]}" for row in rows if len(row) > 1 and row[0].endswith(".py") and row[1]
    )
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:16] if hashes else ""


def unmet_requirement(distribution: Distribution, name: str, version: str) -> str | None:
    """The requirement that `distribution` states of `name` and that `version` does not meet."""
    for text in distribution.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        if canonicalize_name(requirement.name) == name and not requirement.specifier.contains(
            version, prereleases=True
        ):
            return str(requirement)
    return None
