"""Reading a mixer's options off its constructor: the signature is the only schema."""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from mixers.errors import OptionError, SignatureError, nearest
from mixers.options import Choice, Domain, FloatRange, IntRange, OptionValue


@dataclass(frozen=True, slots=True)
class Option:
    """One keyword option of a mixer: its legal values, its default, and what a project narrows
    its search to.

    Values are plain ones; a constructor that is annotated with `enum` is called with its members.
    """

    name: str
    domain: Domain
    default: OptionValue
    search: Domain | None = None
    enum: type[Enum] | None = None

    def argument(self, value: OptionValue) -> OptionValue | Enum:
        """Return the argument that the constructor is called with for `value`."""
        return value if self.enum is None or value is None else self.enum(value)

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

    SignatureError if the constructor breaks the contract of `mixers.interface.Mixer`.
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
    try:
        domain, enum = _read_domain(hints.get(name))
    except ValueError as error:
        raise SignatureError(f"{where}: {name}: {error}") from None
    except TypeError as error:
        raise SignatureError(f"{where}: {name} {error}") from None
    if parameter.default is inspect.Parameter.empty:
        raise SignatureError(f"{where}: {name} has no default")
    try:
        default = domain.normalise(parameter.default)
    except ValueError as error:
        raise SignatureError(f"{where}: the default of {name}: {error}") from None
    return Option(name, domain, default, enum=enum)


def _read_domain(hint: Any) -> tuple[Domain, type[Enum] | None]:
    """The legal values that an annotation says, and the Enum of which they are members.

    TypeError, in words that follow the option's name, if it says none, ValueError for values that
    no option may have.
    """
    if get_origin(hint) is Annotated:
        kind, *said = get_args(hint)
        domains = [item for item in said if isinstance(item, Choice | IntRange | FloatRange)]
        if len(domains) == 1:
            return domains[0], _enum_of(kind)
        if domains:
            raise TypeError("needs exactly one of Choice, IntRange, FloatRange in its annotation")
        return _read_domain(kind)
    if get_origin(hint) is Literal:
        return Choice(*get_args(hint)), _enum_of_members(get_args(hint))
    if hint is bool:
        return Choice(False, True), None
    if isinstance(hint, type) and issubclass(hint, Enum) and len(hint):
        return Choice(*hint), hint
    if get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        if len(kinds) == 1:
            domain, enum = _read_domain(kinds[0])
            if not isinstance(domain, Choice):
                raise TypeError("is a range or None; list its values with None: Choice(None, 1, 2)")
            if None in domain.values:
                return domain, enum
            return Choice(*domain.values, None, search=(*domain.search, None)), enum
    raise TypeError(
        "has no legal values; annotate it, for instance kernel_size: Annotated[int, "
        'Choice(3, 5, 7)] = 7, mode: Literal["sum", "mean"] = "sum" or flag: bool = False'
    )


def _enum_of(kind: Any) -> type[Enum] | None:
    """The Enum that `kind` is, alone or in a union with None."""
    kinds = [item for item in (kind, *get_args(kind)) if isinstance(item, type)]
    return next((item for item in kinds if issubclass(item, Enum)), None)


def _enum_of_members(members: Sequence[Any]) -> type[Enum] | None:
    kinds = {type(member) for member in members if member is not None}
    kind = kinds.pop() if len(kinds) == 1 else None
    return kind if kind is not None and issubclass(kind, Enum) else None


def arguments(
    options: Sequence[Option], values: Mapping[str, OptionValue]
) -> dict[str, OptionValue | Enum]:
    """The keyword arguments of a constructor for plain values of its options."""
    known = {option.name: option for option in options}
    return {
        name: known[name].argument(value) if name in known else value
        for name, value in values.items()
    }


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
