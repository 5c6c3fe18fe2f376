"""Checks of the constructor's signature and the declared class attributes."""

from __future__ import annotations

import inspect

from torch import nn

from mixers._signature import read_options
from mixers.class_attributes import requirements, undecayed_parameters
from mixers.conformance._mixer_under_test import MixerUnderTest
from mixers.conformance._names import CHECK_NAMES
from mixers.conformance.records import CheckFailed, NotApplicable, require
from mixers.errors import SignatureError, nearest

# what no mixer may expect to fail: without it the rest says nothing
_NEVER_EXPECTED = ("signature", "declarations")
_FLAGS = (
    "needs_normalised_input",
    "fixed_map_size",
    "supports_dilation",
    "supports_torchscript",
    "supports_fx",
)


def check_signature(subject: MixerUnderTest) -> str:
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


def check_declarations(subject: MixerUnderTest) -> str:
    """Declarations of the class and the instance have the contract's types."""
    declared = []
    for name in _FLAGS:
        value = getattr(subject.mixer_class, name, False)
        require(
            isinstance(value, bool),
            f"{name}: got {value!r}; allowed: True or False, on the class",
        )
        if value:
            declared.append(name)
    expected = getattr(subject.mixer_class, "expected_failed_checks", None)
    if expected is not None:
        _require_expected_failures(expected)
        declared += [f"that {name} fails" for name in expected]
    needs = requirements(subject.mixer_class)
    declared += [f"requires {', '.join(needs)}"] if needs else []
    mixer = _default_mixer(subject)
    exempt = set() if mixer is None else undecayed_parameters(mixer, "the mixer")
    declared += [f"no weight decay of {', '.join(sorted(exempt))}"] if exempt else []
    field = None if mixer is None else receptive_field_of(mixer)
    if field is not None:
        declared.append(f"receptive_field {field[0]}×{field[1]}")
    return "declares " + (", ".join(declared) or "nothing")


def _require_expected_failures(expected: object) -> None:
    """CheckFailed unless it is a dict of checks' names, each with a reason."""
    allowed = "allowed: a dict {check: reason}, on the class"
    require(isinstance(expected, dict), f"expected_failed_checks: got {expected!r}; {allowed}")
    assert isinstance(expected, dict)
    known = [name for name in CHECK_NAMES if name not in _NEVER_EXPECTED]
    for name, reason in expected.items():
        require(
            name in known,
            f"expected_failed_checks: {name}: no check that may be expected to fail; allowed: "
            f"{', '.join(known)}{nearest(name, known)}",
        )
        require(
            isinstance(reason, str) and bool(reason.strip()),
            f"expected_failed_checks: {name}: got {reason!r}; allowed: a reason in words",
        )


def expected_failures(mixer_class: object) -> dict[str, str]:
    """The checks that the class expects to fail, with its reasons; none if it says so wrongly."""
    expected = getattr(mixer_class, "expected_failed_checks", None)
    try:
        _require_expected_failures(expected)
    except CheckFailed:
        return {}
    assert isinstance(expected, dict)
    return expected


def _default_mixer(subject: MixerUnderTest) -> nn.Module | None:
    """The mixer at its first site; None if it cannot be built."""
    try:
        return subject.build(subject.site)
    except NotApplicable:
        return None


def receptive_field_of(mixer: nn.Module) -> tuple[int, int] | None:
    """The instance's declaration, None if there is none; CheckFailed for another type."""
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
