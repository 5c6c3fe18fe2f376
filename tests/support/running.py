"""`search run` in this process."""

from __future__ import annotations

from click.testing import CliRunner, Result

from search.cli import main


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["run", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result
