"""Consent to run code that a working directory's `plugins.toml` names, kept by digest.

One JSON file in the user's configuration folder: the absolute path of each `plugins.toml` and the
digest of what it named when its user agreed. Anything else, and any edit, needs consent again.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from mixers.errors import PluginError

FILE_NAME = "trusted.json"


def trusted_file() -> Path | None:
    """`$XDG_CONFIG_HOME/metaformer-search/trusted.json`, `~/.config` by default; None without a
    home.

    Relative paths are ignored, as the XDG specification wants it: they would lead into the
    working directory, whose files are the ones that need consent.
    """
    base = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".config"
        except RuntimeError:
            return None
    return base / "metaformer-search" / FILE_NAME if base.is_absolute() else None


def is_trusted(rules: Path, digest: str) -> bool:
    """Return whether the user agreed to run what `rules`, a `plugins.toml`, names as it is now."""
    file = trusted_file()
    if file is None:
        return False
    try:
        return _read(file).get(_key(rules)) == digest
    except (OSError, ValueError):
        return False


def trust(rules: Path, digest: str) -> Path:
    """Keep the user's consent to run what `rules` names; return the file that holds it.

    Raises:
        PluginError: There is no home folder, or the file is damaged or cannot be written.
    """
    file = trusted_file()
    if file is None:
        raise PluginError(
            "there is no home folder in which consent could be kept: set HOME or XDG_CONFIG_HOME "
            f"to an absolute path, or name the file with each command: --plugins {rules}"
        )
    try:
        known = _read(file) if file.exists() else {}
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(file, json.dumps({**known, _key(rules): digest}, indent=2) + "\n")
    except ValueError:
        words = "is damaged; remove it, and agree again to what you want to run"
        raise PluginError(f"{file}: {words}") from None
    except OSError as error:
        words = f"{error.strerror or error}; --plugins {rules} runs the code without being kept"
        raise PluginError(f"{file}: {words}") from None
    return file


def _key(rules: Path) -> str:
    return str(rules.absolute().parent.resolve() / rules.name)


def _read(file: Path) -> dict[str, str]:
    """ValueError if the file holds anything but digests by path."""
    data = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise ValueError
    return data


def _write(file: Path, text: str) -> None:
    """Replace the file as a whole; only its owner may read it. (This package cannot import
    search/atomic_write.py, and that one has no modes.)"""
    descriptor, partial = tempfile.mkstemp(dir=file.parent, prefix=f"{FILE_NAME}.")
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, file)
    except BaseException:  # whatever ends the writing, nothing of it stays
        with suppress(OSError):
            os.unlink(partial)
        raise
