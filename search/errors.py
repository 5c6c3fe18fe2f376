"""Exceptions that end a command; the command line gives each its exit code."""

from __future__ import annotations

from mixers.errors import InputError


class UsageError(InputError):
    """A setting, a study or a data set that cannot be used as it was given (exit 2)."""


class EnvironmentProblem(RuntimeError):
    """This machine or what is installed on it does not allow the work (exit 4)."""


class Interrupted(Exception):
    """The user asked to stop; what was finished is kept."""
