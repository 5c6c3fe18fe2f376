"""The door: the constructor's signature, and what the class declares beside it."""

from __future__ import annotations

import inspect

from torch import nn

from mixers.conformance.records import CheckFailed, NotApplicable, require
from mixers.conformance.subject import Subject
from mixers.errors import SignatureError
from mixers.signature import read_options

_FLAGS = (
    "needs_normalised_input",
    "fixed_map_size",
    "supports_dilation",
    "supports_torchscript",
    "supports_fx",
)


def check_signature(subject: Subject) -> str:
    """The site first, then keyword-only options, annotated with legal values and defaulted."""
    mixer_class = subject.mixer_class
    require(
        inspect.isclass(mixer_class) and issubclass(mixer_class, nn.Module),
        f"{mixer_class!r} is not a class of torch.nn.Module",
    )
    try:
        options = read_options(mixer_class)
    except SignatureError as error:
        raise CheckFailed(str(error)) from None
    return "takes " + (", ".join(option.name for option in options) or "no options")


def check_declarations(subject: Subject) -> str:
    """Class attributes of the contract have the contract's types."""
    declared = []
    for name in _FLAGS:
        value = getattr(subject.mixer_class, name, False)
        require(
            isinstance(value, bool),
            f"{name}: got {value!r}; allowed: True or False, on the class",
        )
        if value:
            declared.append(name)
    field = declared_receptive_field(subject)
    if field is not None:
        declared.append(f"receptive_field {field[0]}×{field[1]}")
    return "declares " + (", ".join(declared) or "nothing")


def declared_receptive_field(subject: Subject) -> tuple[int, int] | None:
    """What a mixer at the first site declares; None where that is nothing."""
    try:
        site = subject.site
    except NotApplicable:
        return None
    return receptive_field_of(subject.build(site))


def receptive_field_of(mixer: nn.Module) -> tuple[int, int] | None:
    """The instance's declaration, None where there is none; CheckFailed for another type."""
    value = getattr(mixer, "receptive_field", None)
    if value is None:
        return None
    right = isinstance(value, tuple) and len(value) == 2
    require(
        right and all(type(side) is int and side >= 1 for side in value),
        f"receptive_field: got {value!r}; allowed: a tuple of two integers of 1 or more, "
        "in height and in width",
    )
    return value
