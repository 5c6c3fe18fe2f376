"""Which mixers are installed: entry points of the group `metaformer.mixers`.

The scan imports nothing; a mixer's module is imported when the mixer is first used.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from mixers.contract import Site
from mixers.errors import PluginError, UnknownMixerError, nearest
from mixers.plugins_file import PluginRules, read_plugin_rules
from mixers.signature import Option, read_options, resolve_options
from mixers.spec import MixerSpec

if TYPE_CHECKING:
    from torch import nn

_AUTHORS_MISTAKES = (
    TypeError,
    NameError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
)
GROUP = "metaformer.mixers"
OWN_DISTRIBUTION = "metaformer-search"


class MixerEntry:
    """One installed mixer: where it comes from; its class is imported on first use."""

    def __init__(self, point: EntryPoint, distribution: str, version: str) -> None:
        self.short_name = point.name
        self.distribution = str(canonicalize_name(distribution))
        self.version = version
        self._point = point

    @property
    def entry_point(self) -> str:
        return self._point.value

    @property
    def name(self) -> str:
        """Canonical: the short name for our own mixers, `distribution/name` for others."""
        if self.distribution == OWN_DISTRIBUTION:
            return self.short_name
        return f"{self.distribution}/{self.short_name}"

    @cached_property
    def mixer_class(self) -> type[nn.Module]:
        """The mixer's class; PluginError where it cannot be imported."""
        from torch import nn

        try:
            loaded = self._point.load()
        except (Exception, SystemExit) as error:  # a stranger's module may raise anything
            raise PluginError(
                f"{self.name} of {self.distribution} {self.version} cannot be imported "
                f"from {self.entry_point}: {type(error).__name__}: {error}"
            ) from error
        if not (isinstance(loaded, type) and issubclass(loaded, nn.Module)):
            raise PluginError(f"{self.name}: {self.entry_point} is not a class of torch.nn.Module")
        return loaded

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """The mixer's options; SignatureError where its constructor breaks the contract."""
        return read_options(self.mixer_class)

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


@dataclass(frozen=True)
class MixerRegistry:
    """The mixers that may be used, by name; `refused` holds the others with the reason."""

    entries: dict[str, MixerEntry]
    refused: dict[str, str]

    def names(self) -> list[str]:
        """Canonical names, sorted."""
        return sorted(self.entries)

    def __getitem__(self, name: str) -> MixerEntry:
        """The mixer of that canonical or short name; UnknownMixerError where there is none."""
        if name in self.entries:
            return self.entries[name]
        if name in self.refused:
            raise UnknownMixerError(f"{name} is installed but refused: {self.refused[name]}")
        for refused, reason in self.refused.items():
            if refused.partition("/")[2] == name and not self._named(name):
                raise UnknownMixerError(f"{refused} is installed but refused: {reason}")
        named = self._named(name)
        if len(named) == 1:
            return named[0]
        if named:
            origins = " and ".join(sorted(entry.name for entry in named))
            raise UnknownMixerError(f"{name} is provided twice; write {origins}")
        known = self.names()
        raise UnknownMixerError(
            f"unknown mixer; installed: {', '.join(known) or 'none'}{nearest(name, known)}"
        )

    def _named(self, short_name: str) -> list[MixerEntry]:
        return [entry for entry in self.entries.values() if entry.short_name == short_name]

    def resolve(self, spec: MixerSpec) -> MixerSpec:
        """The spec under its canonical name with every option stated.

        UnknownMixerError, OptionError, SignatureError or PluginError where it cannot stand.
        """
        entry = self[spec.name]
        options = resolve_options(entry.options, spec.options, mixer=entry.name)
        return MixerSpec.of(entry.name, options)

    def build(self, spec: MixerSpec, site: Site) -> nn.Module:
        """The mixer of `spec` for `site`; ValueError where the two do not go together.

        PluginError where the mixer's constructor has a mistake.
        """
        resolved = self.resolve(spec)
        entry = self[resolved.name]
        try:
            return entry.mixer_class(site, **resolved.options)
        except _AUTHORS_MISTAKES as error:
            raise PluginError(
                f"{entry.name} of {entry.distribution} {entry.version} cannot be built for "
                f"{site}: {type(error).__name__}: {error}"
            ) from error


def load_registry(plugins_toml: str | Path | None = None) -> MixerRegistry:
    """The installed mixers, as `plugins_toml` (else the working directory's) allows them."""
    return registry_of(entry_points(group=GROUP), read_plugin_rules(plugins_toml))


def installed_mixers() -> MixerRegistry:
    """All that is installed, whatever any `plugins.toml` says of it."""
    return registry_of(entry_points(group=GROUP), PluginRules())


def registry_of(points: Iterable[EntryPoint], rules: PluginRules) -> MixerRegistry:
    """A registry of these entry points under these rules; imports none of them."""
    entries: dict[str, MixerEntry] = {}
    refused: dict[str, str] = {}
    versions: dict[int, tuple[str, str]] = {}  # of distributions, whose metadata are slow to read
    for point in points:
        if point.dist is None:
            continue
        if id(point.dist) not in versions:
            versions[id(point.dist)] = point.dist.name, point.dist.version
        entry = MixerEntry(point, *versions[id(point.dist)])
        refusal = rules.refusal(entry.distribution, entry.version)
        if refusal is None:
            entries[entry.name] = entry
        else:
            refused[entry.name] = refusal
    return MixerRegistry(entries, refused)
