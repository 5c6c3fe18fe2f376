"""A package of one mixer, ready to be installed, checked and searched."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from string import Template

from mixers.errors import InputError
from mixers.scan import OWN_DISTRIBUTION, scan

_NAME = re.compile(r"[a-z][a-z0-9_]{1,49}")
_TEMPLATES = {  # where each file goes; $module is the name of the mixer and of its module
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "readme.md.txt",
    "$module/__init__.py": "mixer.py.txt",
    "tests/test_$module.py": "test.py.txt",
}


def write_skeleton(name: str, parent: Path) -> Path:
    """Writes the package of a mixer called `name` into a new folder of `parent`; returns it.

    InputError if the name cannot be one or is taken, or the folder is there already, OSError
    if it cannot be written.
    """
    _require_free(name)
    values = {
        "module": name,
        "distribution": name.replace("_", "-"),
        "class_name": "".join(part.capitalize() for part in name.split("_")),
    }
    folder = parent / values["distribution"]
    if folder.exists():
        raise InputError(f"{folder} is there already; choose another name or folder")
    for target, template in _TEMPLATES.items():
        file = folder / Template(target).substitute(values)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = files(__package__).joinpath(template).read_text(encoding="utf-8")
        file.write_text(Template(text).substitute(values), encoding="utf-8")
    return folder


def _require_free(name: str) -> None:
    """InputError if `name` cannot be a module's, or would hide what is there already."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        words = "small letters, digits and _, beginning with a letter, 2 to 50 of them, no keyword"
        raise InputError(f"NAME: got {name!r}; allowed: {words}")
    reserved = {p.name for p in scan() if p.dist is not None and p.dist.name == OWN_DISTRIBUTION}
    if name in reserved:
        raise InputError(f"NAME: {name} is a built-in mixer; choose another name")
    if name == "tests" or name in sys.stdlib_module_names or _is_importable(name):
        raise InputError(f"NAME: a module {name} is there already; choose another name")
    try:
        taken = distribution(name.replace("_", "-"))
    except PackageNotFoundError:
        return
    raise InputError(f"NAME: a package {taken.name} is installed already; choose another name")


def _is_importable(name: str) -> bool:
    specification = importlib.util.find_spec(name)
    return specification is not None and specification.loader is not None
