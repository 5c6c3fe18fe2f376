"""Reading a mixer's options off its constructor: the signature is the only schema."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from mixers.errors import OptionError, SignatureError, nearest
from mixers.options import Choice, Domain, FloatRange, IntRange, OptionValue


@dataclass(frozen=True, slots=True)
class Option:
    """One keyword option of a mixer: its legal values, its default, and what a project narrows
    its search to."""

    name: str
    domain: Domain
    default: OptionValue
    search: Domain | None = None

    def search_domain(self) -> Domain:
        """The values worth searching."""
        return self.search if self.search is not None else self.domain.search_domain()

    def to_data(self) -> dict[str, Any]:
        """The option as a study keeps it: default, legal values and searched ones in words."""
        return {
            "default": self.default,
            "allowed": self.domain.describe(),
            "searched": self.search_domain().describe(),
        }


def read_options(mixer_class: type) -> tuple[Option, ...]:
    """The options that `mixer_class` takes, in the order of its constructor.

    SignatureError where the constructor breaks the contract of `mixers.contract.Mixer`.
    """
    where = f"{mixer_class.__module__}.{mixer_class.__qualname__}.__init__"
    parameters = list(inspect.signature(mixer_class).parameters.values())
    if not parameters or parameters[0].kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
        raise SignatureError(f"{where}: the first parameter must be the site")
    try:
        hints = get_type_hints(_constructor(mixer_class), include_extras=True)
    except NameError as error:
        raise SignatureError(
            f"{where}: an annotation cannot be read, {error}; "
            "import what annotations name outside of TYPE_CHECKING"
        ) from None
    return tuple(_read_option(where, parameter, hints) for parameter in parameters[1:])


def _constructor(mixer_class: type) -> Any:
    return mixer_class.__init__  # type: ignore[misc]  # of a class, read and never called


def _read_option(where: str, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Option:
    name = parameter.name
    if parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
        raise SignatureError(f"{where}: takes {parameter}; name every option, keyword-only")
    if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
        raise SignatureError(
            f"{where}: {parameter} must be keyword-only: write (self, site, *, {name}: ... = ...)"
        )
    hint = hints.get(name)
    if get_origin(hint) is not Annotated:
        raise SignatureError(
            f"{where}: {name} has no legal values; "
            f"annotate it, for instance {name}: Annotated[int, Choice(3, 5, 7)] = 7"
        )
    domains = [arg for arg in get_args(hint)[1:] if isinstance(arg, Choice | IntRange | FloatRange)]
    if len(domains) != 1:
        raise SignatureError(
            f"{where}: {name} needs exactly one of Choice, IntRange, FloatRange in its annotation"
        )
    if parameter.default is inspect.Parameter.empty:
        raise SignatureError(f"{where}: {name} has no default")
    try:
        default = domains[0].normalise(parameter.default)
    except ValueError as error:
        raise SignatureError(f"{where}: the default of {name}: {error}") from None
    return Option(name, domains[0], default)


def resolve_options(
    options: Sequence[Option], given: Mapping[str, OptionValue], *, mixer: str
) -> dict[str, OptionValue]:
    """All options with their values, defaults filled in; OptionError for what is not legal."""
    known = {option.name: option for option in options}
    resolved = {option.name: option.default for option in options}
    problems = []
    for name, value in given.items():
        if name not in known:
            takes = ", ".join(known) or "no options"
            words = f"unknown option; {mixer} takes {takes}{nearest(name, known)}"
            problems.append((name, words))
            continue
        try:
            resolved[name] = known[name].domain.normalise(value)
        except ValueError as error:
            problems.append((name, str(error)))
    if problems:
        (option, message), *others = problems
        raise OptionError(option, message, *others)
    return resolved
