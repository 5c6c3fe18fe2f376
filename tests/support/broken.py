"""The deliberately broken mixers of tests/mixers/broken, each in a module of its own."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from torch import nn

FOLDER = Path(__file__).parents[1] / "mixers" / "broken"
NAMES = sorted(file.stem for file in FOLDER.glob("*.py"))


def broken(name: str) -> type[nn.Module]:
    """The class of that file, under a module name by which it can be found again."""
    module_name = f"broken_{name}"
    if module_name not in sys.modules:
        spec = spec_from_file_location(module_name, FOLDER / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[module_name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module_name])
    return sys.modules[module_name].Broken
