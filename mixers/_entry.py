"""One mixer that could be used: its names, its state, where it came from; imported on first use."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cached_property
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from mixers._rules import MixerRules
from mixers._signature import Option, arguments, read_options
from mixers.class_attributes import disallowed_reason, has_allows, requirements
from mixers.errors import MixerError, MixerFault, PluginsFileError, SignatureError
from mixers.provenance import files_digest, install_origin
from mixers.scan import OWN_DISTRIBUTION
from mixers.third_party_code import (
    ThirdPartyError,
    call_guarded,
    definition_line,
    is_refusal,
)

if TYPE_CHECKING:
    from torch import nn

    from mixers.interface import Site
    from mixers.options import OptionValue


class MixerState(StrEnum):
    """State of a mixer: whether it can be used, as far as known without importing it."""

    ACTIVE = "active"
    CONFLICT = "conflict"  # another distribution has the name: only the canonical name is clear
    DISABLED = "disabled"  # switched off by name in plugins.toml
    BLOCKED = "blocked"  # its distribution is blocked, or not among the allowed ones
    UNTRUSTED = "untrusted"  # code of the working directory that its user has not agreed to run
    INCOMPATIBLE = "incompatible"  # its distribution needs another version of this project
    BROKEN = "broken"  # it was imported, and cannot be used

    @property
    def is_usable(self) -> bool:
        return self in (MixerState.ACTIVE, MixerState.CONFLICT)


class MixerEntry:
    """One mixer: `load` imports its class, `rules` are the project's say over its options."""

    def __init__(
        self,
        short_name: str,
        distribution: str,
        version: str,
        entry_point: str,
        load: Callable[[], object],
        *,
        origin: Callable[[], dict[str, str]] = dict,
        rules: MixerRules | None = None,
    ) -> None:
        self.short_name = short_name
        self.distribution = str(canonicalize_name(distribution))
        self.version = version
        self.entry_point = entry_point
        self.rules = rules or MixerRules()
        self._load = load
        self._origin = origin
        self._failure: MixerFault | None = None

    @classmethod
    def installed(cls, point: EntryPoint, distribution: str, version: str) -> MixerEntry:
        """The mixer of an entry point."""

        def origin() -> dict[str, str]:
            assert point.dist is not None
            return {"origin": install_origin(point.dist), "files": files_digest(point.dist)}

        return cls(point.name, distribution, version, point.value, point.load, origin=origin)

    @property
    def name(self) -> str:
        """Canonical: the short name for our own mixers, `distribution/name` for others."""
        if self.distribution == OWN_DISTRIBUTION:
            return self.short_name
        return f"{self.distribution}/{self.short_name}"

    @cached_property
    def origin(self) -> dict[str, str]:
        """Origin of the installation, and a digest of its files."""
        return self._origin()

    @property
    def mixer_class(self) -> type[nn.Module]:
        """The mixer's class; MixerFault if it cannot be imported."""
        if self._failure is not None:
            raise self._failure
        return self._class

    @cached_property
    def _class(self) -> type[nn.Module]:
        from torch import nn

        try:
            loaded = call_guarded(self._load)
        except ThirdPartyError as error:
            words = f"cannot be imported from {self.entry_point}: {error}"
            raise self._failed(words) from error.__cause__
        # an object may lie about its class, or raise when it is asked for it
        if not (issubclass(type(loaded), type) and issubclass(loaded, nn.Module)):  # type: ignore[arg-type]
            raise self._failed(f"{self.entry_point} is not a class of torch.nn.Module")
        return loaded  # type: ignore[return-value]  # checked without asking the object

    @property
    def label(self) -> str:
        """Name, distribution and version, for messages."""
        return f"{self.name} of {self.distribution} {self.version}"

    def fault(self, words: str) -> MixerFault:
        """The error that says `words` of this mixer."""
        return MixerFault(self.name, f"{self.label} {words}")

    def _failed(self, words: str) -> MixerFault:
        self._failure = self.fault(words)
        return self._failure

    @cached_property
    def own_options(self) -> tuple[Option, ...]:
        """The options as the author wrote them.

        Raises:
            SignatureError: The constructor breaks the contract.
            MixerFault: Reading the constructor or its annotations raises.
        """
        mixer_class = self.mixer_class
        self.requires  # noqa: B018  # a class that requires what there is not is broken
        try:
            return call_guarded(read_options, mixer_class)
        except ThirdPartyError as error:
            cause, where = error.__cause__, definition_line(mixer_class)
            defined = f", defined at {where}" if where else ""
            if isinstance(cause, SignatureError):
                raise SignatureError(f"{self.label}: {cause}{defined}") from cause
            words = f"has a constructor that cannot be read: {error}{defined}"
            raise self._failed(words) from cause

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """The options under the project's defaults and narrowed domains."""
        return self.rules.apply(self.own_options, mixer=self.name)

    def broken(self) -> str | None:
        """Imports the mixer: why it cannot be used, or None if it can."""
        try:
            self.options  # noqa: B018  # reading them is what may fail
        except PluginsFileError:  # not the mixer's fault
            raise
        except MixerError as error:
            return str(error)
        return None

    def broken_traceback(self) -> str:
        """The traceback of what the mixer's module raised, empty if it raised nothing."""
        try:
            self.options  # noqa: B018
        except MixerError as error:
            cause = error.__cause__
            return "" if cause is None else "".join(traceback.format_exception(cause))
        return ""

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the mixer's code, so that a change is detected."""
        options = {option.name: option.to_data() for option in self.options}
        return {
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "entry_point": self.entry_point,
            **self.origin,
            "options": options,
        }

    @cached_property
    def requires(self) -> tuple[str, ...]:
        """The device types that the mixer needs.

        Raises:
            SignatureError: The class names what is no device type that can be required.
            MixerFault: Reading the class attribute raises.
        """
        mixer_class = self.mixer_class
        try:
            return call_guarded(requirements, mixer_class)
        except ThirdPartyError as error:
            cause = error.__cause__
            if isinstance(cause, SignatureError):
                raise SignatureError(f"{self.label}: {cause}") from cause
            words = f"has a class attribute requires that cannot be read: {error}"
            raise self._failed(words) from cause

    def unmet_requirement(self, device_type: str) -> str | None:
        """Why the mixer does not run on devices of that type, None if it does.

        It can be built on the meta device whatever it requires.
        """
        if device_type == "meta" or not self.requires or device_type in self.requires:
            return None
        return f"{self.label} requires {', '.join(self.requires)}; the device is {device_type}"

    @property
    def has_allows(self) -> bool:
        """True if the class says which sites and options go together."""
        return has_allows(self.mixer_class)

    def disallowed(self, site: Site, options: Mapping[str, OptionValue]) -> str | None:
        """The mixer's own reason why all these options do not go with `site`, None if they do.

        MixerFault if its `allows` raises, or returns neither a reason nor None.
        """
        mixer_class = self.mixer_class
        try:
            return call_guarded(
                disallowed_reason, mixer_class, site, arguments(self.options, options)
            )
        except ThirdPartyError as error:
            words = f"cannot be asked whether it allows {site}: {error}"
            raise self.fault(words) from error.__cause__

    @property
    def needs_normalised_input(self) -> bool:
        return self.declares("needs_normalised_input")

    @property
    def fixed_map_size(self) -> bool:
        return self.declares("fixed_map_size")

    @property
    def supports_dilation(self) -> bool:
        return self.declares("supports_dilation")

    def declares(self, name: str) -> bool:
        """Return whether the class attribute `name` is true; MixerFault if reading it raises."""
        mixer_class = self.mixer_class
        try:
            return call_guarded(lambda: bool(getattr(mixer_class, name, False)))
        except ThirdPartyError as error:
            words = f"has a class attribute {name} that cannot be read: {error}"
            raise self._failed(words) from error.__cause__

    def build(self, site: Site, options: Mapping[str, OptionValue]) -> nn.Module:
        """The mixer for `site`, under options that are legal and complete.

        Raises:
            ValueError: `allows` or the constructor says that the options do not go with the site.
            MixerFault: The constructor raises anything else, or makes no complete module.
        """
        from torch import nn

        mixer_class = self.mixer_class
        reason = self.disallowed(site, options)
        if reason is not None:
            raise ValueError(reason)
        try:
            mixer = call_guarded(mixer_class, site, **arguments(self.options, options))
        except ThirdPartyError as error:
            cause = error.__cause__
            assert cause is not None
            if not isinstance(cause, MixerError) and is_refusal(cause, options):
                assert isinstance(cause, ValueError)
                raise cause from None
            raise self.fault(f"cannot be built for {site}: {error}") from cause
        if not isinstance(mixer, nn.Module):
            words = f"its constructor makes {type(mixer).__name__}; allowed: a torch.nn.Module"
            raise self.fault(f"cannot be built for {site}: {words}")
        if "_parameters" not in vars(mixer):
            words = "its constructor does not call super().__init__()"
            raise self.fault(f"cannot be built for {site}: {words}")
        return mixer
