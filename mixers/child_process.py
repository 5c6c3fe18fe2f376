"""Start of a Python module in a new process that imports exactly what this process imports.

`python -P -m mixers.child_process MODULE ARGUMENTS` is what is started: it hides damaged
distributions before the module imports anything, and runs the module as `python -m` does.
"""

from __future__ import annotations

import os
import runpy
import site
import sys


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs `module` with this interpreter.

    `-P` keeps the working directory off the import path: `python -m` alone puts it first, so that
    a `torch.py` that happens to lie there would be executed.
    """
    flags = ["-P"] if site.ENABLE_USER_SITE else ["-P", "-s"]
    return [sys.executable, *flags, "-m", "mixers.child_process", module, *arguments]


def module_environment() -> dict[str, str]:
    """Return the environment in which `module_command` finds this process's import path.

    Relative entries of `sys.path` are made absolute, so that they keep their meaning.
    """
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return {**os.environ, "PYTHONPATH": path}


def main() -> None:
    """Run the module that the command line names, with the arguments behind it."""
    from mixers.hide_damaged import hide_damaged_distributions

    hide_damaged_distributions()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
