"""Mixers straight from a file of the user's own project: `[local]` of a `plugins.toml`."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

LOCAL_DISTRIBUTION = "local"


@dataclass(frozen=True)
class LocalMixer:
    """A class in a Python file; `written` is the file and class as `plugins.toml` has them."""

    file: Path
    class_name: str
    written: str

    def version(self) -> str:
        """A digest of the file, in the place of a version; empty where it cannot be read."""
        try:
            return hashlib.sha256(self.file.read_bytes()).hexdigest()[:12]
        except OSError:
            return ""

    def load(self) -> object:
        """Runs the file and returns the class; raises whatever the file raises."""
        name = f"local_mixers_{self.file.stem}_{self.version()}"
        if name not in sys.modules:
            specification = importlib.util.spec_from_file_location(name, self.file)
            if specification is None or specification.loader is None:
                raise ImportError(f"{self.file} is not a Python file")
            module = importlib.util.module_from_spec(specification)
            sys.modules[name] = module
            try:
                specification.loader.exec_module(module)
            except BaseException:  # half a module must not stay, whatever ended its import
                del sys.modules[name]
                raise
        return getattr(sys.modules[name], self.class_name)
