"""A package of one mixer, ready to be installed, checked and searched."""

from __future__ import annotations

import keyword
import re
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

    InputError where the name cannot be one or the folder is there already, OSError where it
    cannot be written.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        words = "small letters, digits and _, beginning with a letter, 2 to 50 of them"
        raise InputError(f"NAME: got {name!r}; allowed: {words}")
    reserved = {p.name for p in scan() if p.dist is not None and p.dist.name == OWN_DISTRIBUTION}
    if name in reserved:
        raise InputError(f"NAME: {name} is a built-in mixer; choose another name")
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
