"""Declarations of a mixer's class in addition to its options, read and validated."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING

from mixers.errors import PluginError, SignatureError
from mixers.interface import Site
from mixers.options import OptionValue
from mixers.third_party_code import ThirdPartyError, call_guarded

if TYPE_CHECKING:
    from torch import nn

REQUIREMENTS = ("cuda",)  # device types that a mixer may require


def documentation(mixer_class: type) -> str:
    """The docstring of the class itself, empty if it has none: `nn.Module`'s is not its own."""
    text = vars(mixer_class).get("__doc__")
    return inspect.cleandoc(text) if isinstance(text, str) else ""


def requirements(mixer_class: type) -> tuple[str, ...]:
    """The device types that the mixer requires; SignatureError if `requires` is not legal."""
    declared = getattr(mixer_class, "requires", ())
    allowed = ", ".join(f'"{word}"' for word in REQUIREMENTS)
    where = f"{mixer_class.__module__}.{mixer_class.__qualname__}.requires"
    if not isinstance(declared, tuple):
        words = f"got {declared!r}; allowed: a tuple of {allowed}, such as ({allowed},)"
        raise SignatureError(f"{where}: {words}")
    for word in declared:
        if word not in REQUIREMENTS:
            raise SignatureError(f"{where}: got {word!r}; allowed: {allowed}")
    return declared


def has_allows(mixer_class: type) -> bool:
    """Return whether the class declares `allows`."""
    return getattr(mixer_class, "allows", None) is not None


def disallowed_reason(
    mixer_class: type, site: Site, options: Mapping[str, OptionValue | Enum]
) -> str | None:
    """The answer of the mixer's `allows`, None if it has no such method.

    Raises:
        TypeError: `allows` is no static or class method, or returns something else than a reason
            or None.
        Exception: Whatever the method itself raises.
    """
    if not has_allows(mixer_class):
        return None
    if inspect.isfunction(inspect.getattr_static(mixer_class, "allows")):
        raise TypeError("allows: got a method of the instance; allowed: a static or class method")
    reason = mixer_class.allows(site, **options)  # type: ignore[attr-defined]  # has_allows
    if reason is None or (isinstance(reason, str) and reason.strip()):
        return reason if reason is None else " ".join(reason.split())
    raise TypeError(f"allows: returned {reason!r}; allowed: None, or a reason in words")


def undecayed_parameters(mixer: nn.Module, label: str) -> set[str]:
    """The parameters that `mixer.no_weight_decay` names, none if it has no such method.

    PluginError, which begins with `label`, if the declaration is not legal.
    """
    method = getattr(mixer, "no_weight_decay", None)
    if method is None:
        return set()
    where = f"{label}: no_weight_decay of {type(mixer).__module__}.{type(mixer).__qualname__}"
    try:
        names = call_guarded(method)
    except ThirdPartyError as error:
        raise PluginError(f"{where}: {error}") from error.__cause__
    if not isinstance(names, set | frozenset | list | tuple):
        raise PluginError(f"{where}: got {names!r}; allowed: a set of names of parameters")
    known = dict(mixer.named_parameters())
    for name in names:
        if name not in known:
            allowed = ", ".join(known) or "none, as it has no parameters"
            raise PluginError(f"{where}: got {name!r}; allowed: {allowed}")
    return set(names)
