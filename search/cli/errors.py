"""From an exception to one message and a documented exit code, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import NoReturn

from search.cli.output import echo


class ExitCode(IntEnum):
    DONE = 0
    USAGE = 2
    NOTHING_FEASIBLE = 3
    DIFFERS = 3  # of `search rerun`: the same number, since it is finished too
    ENVIRONMENT = 4
    TOO_MANY_FAILURES = 5
    INTERRUPTED = 130


def stop(message: str, code: ExitCode) -> NoReturn:
    """Prints the message to the standard error and leaves with `code`."""
    echo(message, err=True)
    sys.exit(code)


@contextmanager
def user_errors() -> Iterator[None]:
    """Answers a user's mistake or a machine's trouble; a defect of ours keeps its traceback."""
    from mixers import InputError, PluginError, SignatureError
    from search.errors import EnvironmentProblem

    try:
        yield
    except BrokenPipeError:  # whoever reads has seen enough; click ends quietly
        raise
    except (PluginError, SignatureError, EnvironmentProblem) as error:
        stop(f"error: {error}", ExitCode.ENVIRONMENT)
    except InputError as error:
        stop(f"error: {error}", ExitCode.USAGE)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        stop(
            f"error: {where}{error.strerror or error}; nothing that was on record is lost",
            ExitCode.ENVIRONMENT,
        )
