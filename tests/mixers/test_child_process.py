"""Child processes import what this process imports, whatever lies in the working directory."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mixers.child_process import module_command, module_environment

NAMES = ("torch", "search", "mixers", "yaml", "json", "import_report")


def report(folder: Path | None = None) -> dict[str, dict[str, str]]:
    command = module_command("import_report", *NAMES)
    found = subprocess.run(
        command, cwd=folder, env=module_environment(), capture_output=True, text=True, check=True
    )
    return json.loads(found.stdout)


def test_nothing_in_the_working_directory_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("torch.py", "search.py", "json.py", "sitecustomize.py", "import_report.py"):
        Path(name).write_text("open('executed', 'w')\n")
    for package in ("mixers", "yaml"):
        Path(package).mkdir()
        Path(package, "__init__.py").write_text("open('executed', 'w')\n")
    found = report()["origins"]
    here = {name: importlib.util.find_spec(name).origin for name in NAMES}  # type: ignore[union-attr]
    assert found == here
    assert not Path("executed").exists()


def test_the_import_path_of_this_process_is_the_childs_with_relative_entries_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["own modules", *sys.path])
    (tmp_path / "elsewhere").mkdir()
    path = report(tmp_path / "elsewhere")["path"]
    expected = list(dict.fromkeys(os.path.abspath(entry) for entry in sys.path))
    assert path[: len(expected)] == expected
    assert str(tmp_path) not in path


@pytest.mark.parametrize("user_site", [True, False, None])
def test_the_working_directory_is_off_the_path_with_and_without_a_user_site(
    user_site: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("site.ENABLE_USER_SITE", user_site)
    assert "-P" in module_command("module")
    assert ("-s" in module_command("module")) != bool(user_site)
