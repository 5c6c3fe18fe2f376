"""Consent to the code that a test's own plugins.toml names, as `search plugins trust` keeps it."""

from __future__ import annotations

from pathlib import Path

from mixers.plugins_file import FILE_NAME, read_plugin_rules
from mixers.trust import trust


def agree() -> None:
    """Agree to run what the working directory's plugins.toml names, as it is now."""
    trust(Path(FILE_NAME), read_plugin_rules(FILE_NAME).consent)
