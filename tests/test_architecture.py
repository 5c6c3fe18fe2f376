"""The arrows between the packages, and rules of the house that a tool can check."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mixers", "metaformer", "search")
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def run(*command: str) -> None:
    tool = Path(sys.executable).parent / command[0]
    done = subprocess.run([str(tool), *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_packages_depend_on_each_other_as_the_contracts_say() -> None:
    run("lint-imports", "--no-cache")


def test_the_code_is_formatted_and_lint_free() -> None:
    run("ruff", "check", "--no-cache", ".")
    run("ruff", "format", "--check", "--no-cache", ".")


def test_a_private_module_is_imported_by_its_own_package_only() -> None:
    for file in SOURCES:
        own = ".".join(file.relative_to(ROOT).parent.parts)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGES):
                named = [f"{node.module}.{alias.name}" for alias in node.names]
                for module in (node.module, *named):
                    package, private, _ = module.partition("._")
                    inside = f"{own}.".startswith(f"{package}.")
                    assert not private or inside, f"{file}: {module}"


@pytest.mark.parametrize("name", ["utils", "common", "core", "helpers"])
def test_no_module_has_a_name_that_says_nothing(name: str) -> None:
    assert name not in {file.stem for file in SOURCES} | {file.parent.name for file in SOURCES}


def test_files_fit_in_a_head_and_functions_on_a_screen() -> None:
    """Files are split by concept; the limit only tells when one has come to hold several."""
    for file in SOURCES:
        text = file.read_text()
        assert text.count("\n") <= 400, file
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno <= 60, f"{file}: {node.name}"


def test_no_spec_is_ever_evaluated_as_code() -> None:
    forbidden = re.compile(r"(?<!\.)\b(eval|exec)\(|yaml\.\w*load\(|weights_only=False")
    for file in SOURCES:
        assert not forbidden.search(file.read_text()), file


# What this file loads is an object that it dumped itself a moment before, in the same process:
# whether a mixer survives that is what it checks. Nothing from a file or from others is loaded.
LOADS_WHAT_IT_DUMPED = {ROOT / "mixers" / "conformance" / "_serialisation.py"}


def test_no_serialised_object_is_loaded() -> None:
    for file in SOURCES:
        assert ("pickle" in file.read_text()) == (file in LOADS_WHAT_IT_DUMPED), file


def test_constraints_hold_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = re.compile(r"[a-z0-9][a-z0-9._-]*==[0-9][0-9a-z.+]*")
    assert all(pinned.fullmatch(line) for line in lines if not line.startswith("#"))
    assert any(line.startswith("torch==") for line in lines)


def test_no_exported_name_is_that_of_a_module_beside_it() -> None:
    """Importing the module would replace the name in its package."""
    for package in SOURCES:
        if package.name == "__init__.py":
            modules = {file.stem for file in package.parent.glob("*.py")}
            exported = re.findall(r'^    "(\w+)": "', package.read_text(), re.MULTILINE)
            assert not modules & set(exported), package
