"""Environments of their own, as a user's: with this project installed and what it depends on."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build_wheel(source: Path, folder: Path) -> Path:
    """The wheel of the project in `source`, built into `folder`, which is made."""
    folder.mkdir(parents=True)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(source)],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))


@dataclass(frozen=True)
class FreshEnvironment:
    """A virtual environment that sees the dependencies of this one, and no project of this one's
    but what is installed into it."""

    path: Path

    @classmethod
    def create(cls, path: Path, *wheels: Path) -> FreshEnvironment:
        subprocess.run([sys.executable, "-m", "venv", str(path)], check=True)
        made = cls(path)
        made.pip("install", "--no-deps", *map(str, wheels))
        packages = next((path / "lib").glob("python*/site-packages"))
        dependencies = [entry for entry in sys.path if entry.endswith("site-packages")]
        (packages / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
        return made

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables of a shell in which it is active."""
        path = f"{self.path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return {**kept, "PATH": path, "VIRTUAL_ENV": str(self.path)}

    def run(self, *command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=folder, env=self.variables, capture_output=True, text=True, timeout=500
        )

    def pip(self, *arguments: str) -> None:
        done = self.run(str(self.python), "-m", "pip", "--disable-pip-version-check", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def search(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line in the working directory."""
        return self.run(str(self.path / "bin" / "search"), *arguments)
