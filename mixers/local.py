"""Mixers straight from a file of the user's own project: `[local]` of a `plugins.toml`."""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType

LOCAL_DISTRIBUTION = "local"


@dataclass(frozen=True)
class LocalMixer:
    """A class in a Python file; `written` is the file and class as `plugins.toml` has them.

    `digest` is the SHA-256 of the file when the rules were read, empty if it could not be read;
    `notice` is the line for the standard error before the file runs, empty for none.
    """

    file: Path
    class_name: str
    written: str
    digest: str = ""
    notice: str = ""

    def version(self) -> str:
        """The digest, shortened, in the place of a version; empty if it could not be read."""
        return self.digest[:12]

    def load(self) -> object:
        """Run the file and return the class; raises whatever the file raises.

        What runs is the text that the digest was taken of. The file's folder is not put on the
        import path: it stands alone, and a file next to it is not imported.
        """
        source = self.file.read_bytes()
        if hashlib.sha256(source).hexdigest() != self.digest:
            raise ImportError(f"{self.file} has changed since plugins.toml was read; start again")
        if self.notice:
            print(self.notice, file=sys.stderr, flush=True)
        place = hashlib.sha256(os.fsencode(self.file)).hexdigest()[:12]
        name = f"local_mixers_{self.file.stem}_{place}_{self.version()}"
        if name not in sys.modules:
            loader = _TextLoader(name, self.file, source)
            specification = spec_from_file_location(name, self.file, loader=loader)
            assert specification is not None
            module = module_from_spec(specification)
            sys.modules[name] = module
            try:
                loader.exec_module(module)
            except BaseException:  # half a module must not stay, whatever ended its import
                del sys.modules[name]
                raise
        return getattr(sys.modules[name], self.class_name)


def file_digest(file: Path) -> str:
    """Return the SHA-256 of the file; empty if it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""


class _TextLoader(SourceFileLoader):
    """Compiles `source`, never a compiled file in `__pycache__`, which may hold anything."""

    def __init__(self, name: str, file: Path, source: bytes) -> None:
        super().__init__(name, str(file))
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._source, self.path)
