"""One mixer that could be used: its names, its state, where it came from; imported on first use."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from enum import StrEnum
from functools import cached_property
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from mixers.class_attributes import disallowed_reason, has_allows, requirements
from mixers.errors import MixerError, PluginError, PluginsFileError
from mixers.provenance import files_digest, install_origin
from mixers.rules import MixerRules
from mixers.scan import OWN_DISTRIBUTION
from mixers.signature import Option, arguments, read_options

if TYPE_CHECKING:
    from torch import nn

    from mixers.contract import Site
    from mixers.options import OptionValue


class MixerState(StrEnum):
    """Whether a mixer can be used, as far as can be told without importing it."""

    ACTIVE = "active"
    CONFLICT = "conflict"  # another distribution has the name: only the canonical name is clear
    DISABLED = "disabled"  # switched off by name in plugins.toml
    BLOCKED = "blocked"  # its distribution is blocked, or not among the allowed ones
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
        self._failure: PluginError | None = None

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
        """Where it was installed from, and a digest of its files."""
        return self._origin()

    @property
    def mixer_class(self) -> type[nn.Module]:
        """The mixer's class; PluginError where it cannot be imported."""
        if self._failure is not None:
            raise self._failure
        return self._class

    @cached_property
    def _class(self) -> type[nn.Module]:
        from torch import nn

        try:
            with redirect_stdout(sys.stderr):  # what is printed for machines stays clean
                loaded = self._load()
        except (Exception, SystemExit) as error:  # a stranger's module may raise anything
            raise self._failed(
                f"cannot be imported from {self.entry_point}: {type(error).__name__}: {error}"
            ) from error
        if not (isinstance(loaded, type) and issubclass(loaded, nn.Module)):
            raise self._failed(f"{self.entry_point} is not a class of torch.nn.Module")
        return loaded

    @property
    def is_imported(self) -> bool:
        """Whether its module has been run."""
        return self._failure is not None or "_class" in self.__dict__

    def _failed(self, words: str) -> PluginError:
        self._failure = PluginError(f"{self.name} of {self.distribution} {self.version} {words}")
        return self._failure

    @cached_property
    def own_options(self) -> tuple[Option, ...]:
        """The options as the author wrote them; SignatureError where the contract is broken."""
        self.requires  # noqa: B018  # a class that requires what there is not is broken
        return read_options(self.mixer_class)

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """The options under the project's defaults and narrowed domains."""
        return self.rules.apply(self.own_options, mixer=self.name)

    def broken(self) -> str | None:
        """Imports the mixer: why it cannot be used, or None where it can."""
        try:
            self.options  # noqa: B018  # reading them is what may fail
        except PluginsFileError:  # not the mixer's fault
            raise
        except MixerError as error:
            return str(error)
        return None

    def broken_traceback(self) -> str:
        """The traceback of what the mixer's module raised, empty where it raised nothing."""
        try:
            self.options  # noqa: B018
        except MixerError as error:
            cause = error.__cause__
            return "" if cause is None else "".join(traceback.format_exception(cause))
        return ""

    def frozen(self) -> dict[str, Any]:
        """What a study keeps of the mixer, to tell later whether it has changed."""
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
        """The device types that the mixer needs; SignatureError if its class names others."""
        return requirements(self.mixer_class)

    def unmet_requirement(self, device_type: str) -> str | None:
        """Why the mixer does not run on devices of that type, None if it does.

        It can be built on the meta device whatever it requires.
        """
        if device_type == "meta" or not self.requires or device_type in self.requires:
            return None
        words = f"requires {', '.join(self.requires)}; the device is {device_type}"
        return f"{self.name} of {self.distribution} {self.version} {words}"

    @property
    def has_allows(self) -> bool:
        """Whether the class says which sites and options go together."""
        return has_allows(self.mixer_class)

    def disallowed(self, site: Site, options: Mapping[str, OptionValue]) -> str | None:
        """The mixer's own reason why all these options do not go with `site`, None if they do.

        PluginError if its `allows` raises, or returns neither a reason nor None.
        """
        try:
            values = arguments(self.options, options)
            return disallowed_reason(self.mixer_class, site, values)
        except (Exception, SystemExit) as error:  # third-party code may raise anything
            raise PluginError(
                f"{self.name} of {self.distribution} {self.version} cannot be asked whether it "
                f"allows {site}: {type(error).__name__}: {error}"
            ) from error

    @property
    def needs_normalised_input(self) -> bool:
        return self._declares("needs_normalised_input")

    @property
    def fixed_map_size(self) -> bool:
        return self._declares("fixed_map_size")

    @property
    def supports_dilation(self) -> bool:
        return self._declares("supports_dilation")

    def _declares(self, name: str) -> bool:
        return bool(getattr(self.mixer_class, name, False))
