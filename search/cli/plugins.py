"""`search plugins`: consent to run the code that a working directory's plugins.toml names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.cli.errors import user_errors
from search.cli.output import echo

if TYPE_CHECKING:
    from mixers import MixerRegistry


def command_registry(plugins: str | None) -> MixerRegistry:
    """The mixers that a command may use; prints a note if local code is left out of them."""
    from mixers import load_registry

    registry = load_registry(plugins)
    rules = registry.rules
    if rules.local_refusal is not None:
        names = [f"local/{name}" for name in rules.local]
        names += [f"trainer local/{name}" for name in rules.trainers]
        way = "left out until you agree to run it (search plugins trust)"
        echo(f"{rules.file}: {way}: {', '.join(names)}", err=True)
    return registry


@click.group()
def plugins() -> None:
    """Agree to run code of plugins.toml."""


@plugins.command()
@click.argument("file", type=click.Path(path_type=Path), default="plugins.toml")
def trust(file: Path) -> None:
    """Let commands run the local mixers and trainers that FILE names, as they are now.

    FILE is a plugins.toml, by default the working directory's. What is run is printed. After an
    edit of FILE, or of a Python file that it names, consent is needed again.
    """
    with user_errors():
        from mixers.plugins_file import FILE_NAME, read_plugin_rules
        from mixers.trust import trust as keep_consent
        from search.errors import UsageError

        if file.name != FILE_NAME:
            raise UsageError(
                f"FILE: got {file}; allowed: a file called {FILE_NAME}, since one of another name "
                f"is only read if it is named, which is consent: --plugins {file}"
            )
        rules = read_plugin_rules(file)
        code = [*rules.local.values(), *rules.trainers.values()]
        if not code:
            echo(f"{file} names no code; nothing needs consent")
            return
        for local in code:
            echo(f"{local.written}  {local.file}  sha256 {local.digest or 'cannot be read'}")
        kept = keep_consent(file, rules.consent)
        echo(f"{file} may run this code from now on, until one of these files changes")
        echo(f"kept in {kept}")
