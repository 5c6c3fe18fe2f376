"""The child of `supervised.py`: the checks of one mixer, told line by line to a descriptor."""

from __future__ import annotations

import argparse
import os
import sys

from mixers.conformance._child import run_checks


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mixers.conformance")
    parser.add_argument("name", help="a mixer, as load_registry() names it")
    parser.add_argument("--plugins", help="a plugins.toml; the working directory's by default")
    parser.add_argument("--only", nargs="*", help="the checks to run; all by default")
    parser.add_argument("--device", help="where the checks run; by default as the mixer requires")
    parser.add_argument("--skip", nargs="*", default=(), help="checks not to run")
    parser.add_argument("--descriptor", type=int, required=True, help="where the lines go")
    arguments = parser.parse_args()
    os.dup2(2, 1)  # what a mixer prints, from C as well, is no line of ours
    sys.stdout = sys.stderr
    run_checks(
        arguments.name,
        arguments.plugins,
        skip=arguments.skip,
        only=arguments.only,
        device=arguments.device,
        descriptor=arguments.descriptor,
    )


if __name__ == "__main__":
    main()
