"""A package whose `__init__` runs when a name of it is first asked for.

`import metaformer` imports torch and timm, since it registers its backbones with timm. A mistake
in a YAML file needs neither, only `metaformer.spec_yaml` and its like
(docs/decisions/0026-errors-before-torch.md).
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from typing import Any


def postpone(package: str) -> None:
    """Let modules of `package` be imported without its `__init__`, until that is needed.

    Does nothing if the package is imported already. `from package import name` runs the
    `__init__` as ever.
    """
    if package in sys.modules:
        return
    spec = find_spec(package)
    if spec is None or spec.loader is None:
        return
    loader, module = spec.loader, module_from_spec(spec)

    def initialise(name: str) -> Any:
        if name.startswith("__"):  # what the import system and inspect ask any module for
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        del module.__dict__["__getattr__"]
        loader.exec_module(module)
        return getattr(module, name)

    module.__dict__["__getattr__"] = initialise
    sys.modules[package] = module
