"""Registry of mixers, made lazily from entry points and `plugins.toml`."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from packaging.utils import canonicalize_name

from mixers._entry import MixerEntry, MixerState
from mixers._signature import resolve_options
from mixers._spec import MixerSpec
from mixers.errors import UnknownMixerError, nearest
from mixers.interface import Site
from mixers.local import LOCAL_DISTRIBUTION, LocalMixer
from mixers.plugins_file import RESERVED_WORDS, PluginRules, read_plugin_rules
from mixers.provenance import Publication, published, unmet_requirement
from mixers.scan import OWN_DISTRIBUTION, Damaged, damaged, scan

if TYPE_CHECKING:
    from torch import nn

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_Candidate: TypeAlias = tuple[MixerEntry, Publication | None]  # None if it is a local one


@dataclass(frozen=True)
class Refused:
    """A mixer that may not be used, its state and the reason."""

    entry: MixerEntry
    state: MixerState
    reason: str


@dataclass(frozen=True)
class MixerRegistry:
    """The mixers that may be used, by canonical name; `refused` holds the others.

    `short_names` are what `[resolve]` of a `plugins.toml` settled; `rules` are all that it says.
    """

    entries: dict[str, MixerEntry]
    refused: dict[str, Refused] = field(default_factory=dict)
    short_names: dict[str, str] = field(default_factory=dict)
    rules: PluginRules = field(default_factory=PluginRules)

    def names(self) -> list[str]:
        """Canonical names, sorted."""
        return sorted(self.entries)

    def state(self, entry: MixerEntry) -> tuple[MixerState, str]:
        """The state of a mixer of this registry and the reason, without importing it."""
        if entry.name in self.refused:
            refused = self.refused[entry.name]
            return refused.state, refused.reason
        rivals = self._named(entry.short_name)
        own = entry.distribution == OWN_DISTRIBUTION
        if len(rivals) > 1 and not own and not self._is_settled(entry.short_name):
            return MixerState.CONFLICT, self._conflict(entry.short_name, rivals)
        return MixerState.ACTIVE, ""

    def settled(self, names: Iterable[str]) -> MixerRegistry:
        """This registry, if a short name means that one of `names` which has it, whoever else
        gives it too."""
        by_short = defaultdict(list)
        for name in names:
            by_short[name.rpartition("/")[2]].append(name)
        own = {
            short: given[0]
            for short, given in by_short.items()
            if len(given) == 1 and short not in self.entries
        }
        return replace(self, short_names={**self.short_names, **own})

    def all_entries(self) -> list[MixerEntry]:
        """Every mixer that was found, the refused ones too, by canonical name."""
        found = [*self.entries.values(), *(refused.entry for refused in self.refused.values())]
        return sorted(found, key=lambda entry: entry.name)

    def __getitem__(self, name: str) -> MixerEntry:
        """The mixer of that canonical or short name; UnknownMixerError if there is none."""
        name = self.short_names.get(name, name)
        if name in self.entries:
            return self.entries[name]
        if name in self.refused:
            raise UnknownMixerError(self._refusal(name))
        named = self._named(name)
        if len(named) == 1:
            return named[0]
        if named:
            raise UnknownMixerError(self._conflict(name, named))
        for refused in self.refused:
            if refused.partition("/")[2] == name:
                raise UnknownMixerError(self._refusal(refused))
        known = self.names()
        raise UnknownMixerError(
            f"unknown mixer; installed: {', '.join(known) or 'none'}{self._nearest(name)}"
        )

    def _named(self, short_name: str) -> list[MixerEntry]:
        return [entry for entry in self.entries.values() if entry.short_name == short_name]

    def _is_settled(self, short_name: str) -> bool:
        return short_name in self.short_names or short_name in self.entries

    def _refusal(self, name: str) -> str:
        refused = self.refused[name]
        is_local = refused.entry.distribution == LOCAL_DISTRIBUTION
        return f"{name} is {'' if is_local else 'installed but '}{refused.state}: {refused.reason}"

    def _conflict(self, name: str, named: Iterable[MixerEntry]) -> str:
        entries = sorted(named, key=lambda entry: entry.name)
        origins = " and ".join(f"{e.distribution} {e.version}" for e in entries)
        canonical = " or ".join(entry.name for entry in entries)
        return (
            f"{name} is given by {origins}; write {canonical}, or settle it in "
            f'plugins.toml: [resolve] {name} = "{entries[0].name}"'
        )

    def _nearest(self, name: str) -> str:
        """The nearest canonical name, also if only its short one is near."""
        near = nearest(name, self.names())
        if near:
            return near
        short = {entry.short_name: entry.name for entry in self.entries.values()}
        matches = difflib.get_close_matches(name, list(short), n=1)
        return f"; did you mean {short[matches[0]]}?" if matches else ""

    def resolve(self, spec: MixerSpec, *, as_published: bool = False) -> MixerSpec:
        """The spec under its canonical name with every option stated.

        `as_published` takes the author's defaults, whatever the project's are. UnknownMixerError,
        OptionError, SignatureError or PluginError if it cannot stand.
        """
        entry = self[spec.name]
        options = entry.own_options if as_published else entry.options
        return MixerSpec.of(entry.name, resolve_options(options, spec.options, mixer=entry.name))

    def disallowed(self, spec: MixerSpec, site: Site) -> str | None:
        """The mixer's reason not to stand at `site`; PluginError if its `allows` has a mistake."""
        resolved = self.resolve(spec)
        return self[resolved.name].disallowed(site, resolved.options)

    def build(self, spec: MixerSpec, site: Site) -> nn.Module:
        """The mixer of `spec` for `site`; ValueError if the two do not go together.

        MixerFault if the mixer's constructor has a mistake.
        """
        resolved = self.resolve(spec)
        return self[resolved.name].build(site, resolved.options)


def load_registry(
    plugins_toml: str | Path | None = None, *, consent: str | None = None
) -> MixerRegistry:
    """The installed mixers, as `plugins_toml` (else the working directory's) allows them.

    Naming `plugins_toml` is consent to run the local code it names. Local code of the working
    directory's file is `untrusted` until its user has agreed to it: `search plugins trust`.
    `consent` is that of another process: see `read_plugin_rules`.
    """
    return registry_of(scan(), read_plugin_rules(plugins_toml, consent=consent), damaged())


def installed_mixers() -> MixerRegistry:
    """All that is installed, whatever any `plugins.toml` says of it."""
    return registry_of(scan(), PluginRules(), damaged())


def registry_of(
    points: Iterable[EntryPoint], rules: PluginRules, broken: Iterable[Damaged] = ()
) -> MixerRegistry:
    """A registry of these entry points under these rules; imports none of them.

    `broken` are distributions that cannot be read: each is listed as `distribution/*`.

    PluginsFileError if the rules name a mixer that there is not.
    """
    found: dict[str, list[_Candidate]] = defaultdict(list)
    publications: dict[int, Publication] = {}
    for point in points:
        if point.dist is None:
            continue
        if id(point.dist) not in publications:
            publications[id(point.dist)] = published(point.dist)
        publication = publications[id(point.dist)]
        entry = MixerEntry.installed(point, publication.name, publication.version)
        found[entry.name].append((entry, publication))
    for name, local in rules.local.items():
        found[f"{LOCAL_DISTRIBUTION}/{name}"].append((_local_entry(name, local), None))
    rules.check_names({name: entries[0][0].distribution for name, entries in found.items()})
    entries: dict[str, MixerEntry] = {}
    refused: dict[str, Refused] = {}
    own_version = _own_version()
    for name, candidates in found.items():
        entry = candidates[0][0]
        entry.rules = rules.of_mixer(entry.name, entry.short_name)
        refusal = _refusal(candidates, rules, own_version)
        if refusal is None:
            entries[name] = entry
        else:
            refused[name] = Refused(entry, *refusal)
    for distribution in broken:
        entry = MixerEntry("*", distribution.name, "", "", _no_load)
        refused[entry.name] = Refused(entry, MixerState.BROKEN, distribution.reason)
    return MixerRegistry(entries, refused, dict(rules.resolve), rules)


def _no_load() -> object:
    raise ImportError("the distribution cannot be read")


def _local_entry(name: str, local: LocalMixer) -> MixerEntry:
    def origin() -> dict[str, str]:
        return {"origin": f"file {local.file}", "files": local.version()}

    version = local.version()
    return MixerEntry(name, LOCAL_DISTRIBUTION, version, local.written, local.load, origin=origin)


def _refusal(
    candidates: list[_Candidate], rules: PluginRules, own_version: str | None
) -> tuple[MixerState, str] | None:
    entry, publication = candidates[0]
    if len({other.entry_point for other, _ in candidates}) > 1:
        values = " and ".join(sorted(other.entry_point for other, _ in candidates))
        words = f"{entry.distribution} {entry.version} gives {entry.short_name} twice: {values}"
        return MixerState.CONFLICT, words
    if publication is None:
        if not entry.rules.enabled:
            return _disabled(entry, rules)
        refusal = rules.local_refusal
        return None if refusal is None else (MixerState.UNTRUSTED, refusal)
    if not _NAME.fullmatch(entry.short_name):
        words = f"{entry.short_name!r} is no name; allowed: letters, digits, _ . -"
        return MixerState.INCOMPATIBLE, words
    for name in (entry.short_name, entry.distribution):
        if name in RESERVED_WORDS:
            words = f"{name} is a word of specs and studies, not a name that can be given"
            return MixerState.INCOMPATIBLE, words
    refusal = rules.refusal(entry.distribution, entry.version)
    if refusal is not None:
        return MixerState.BLOCKED, refusal
    if not entry.rules.enabled:
        return _disabled(entry, rules)
    return _incompatible(entry, publication, own_version)


def _disabled(entry: MixerEntry, rules: PluginRules) -> tuple[MixerState, str]:
    return MixerState.DISABLED, f"{rules.file} switches {entry.name} off"


def _own_version() -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(OWN_DISTRIBUTION)
    except PackageNotFoundError:  # run from a source tree
        return None


def _incompatible(
    entry: MixerEntry, publication: Publication, own_version: str | None
) -> tuple[MixerState, str] | None:
    """Requirement of the distribution that this project does not meet."""
    if entry.distribution == canonicalize_name(OWN_DISTRIBUTION) or own_version is None:
        return None
    unmet = unmet_requirement(publication.requires, OWN_DISTRIBUTION, own_version)
    if unmet is None:
        return None
    words = f"{entry.distribution} {entry.version} needs {unmet}, installed is {own_version}"
    return MixerState.INCOMPATIBLE, words
