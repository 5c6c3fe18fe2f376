"""`plugins.toml`: the project's say over the mixers that are installed, and its own.

schema = 1
[allow]                                   # if it is there, no others give mixers
metaformer-search = "*"
somebodys-mixers = ">=1.2,<2"
[block]
somebodys-mixers = "==1.3.0"
[resolve]                                 # a short name that two distributions give
gated = "somebodys-mixers/gated"
[mixers."somebodys-mixers/gated"]
enabled = true
defaults = {kernel_size = 7}              # of specs that do not say
search = {kernel_size = [5, 7]}           # what `any` searches: values, or {low, high, step}
[local]                                   # straight from a file next to this one, by consent
my_mixer = "experiments/my_mixer.py:MyMixer"
[trainers]                                # likewise, functions that train candidates
my_recipe = "experiments/my_recipe.py:train"
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from mixers._rules import MixerRules
from mixers._toml_file import TomlFile, read_toml, shown
from mixers.errors import PluginError, did_you_mean, nearest
from mixers.local import LOCAL_DISTRIBUTION, LocalMixer, file_digest
from mixers.trust import is_trusted

FILE_NAME = "plugins.toml"
_KEYS = ("schema", "allow", "block", "resolve", "mixers", "local", "trainers")
# words that a spec, a study or a canonical name gives a meaning of their own
RESERVED_WORDS = frozenset({"any", "choice", "range", "local", "null", "true", "false"})
_RESERVED = ", ".join(sorted(RESERVED_WORDS))
_LOCAL = re.compile(r"(?P<file>[^:]+\.py):(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class PluginRules:
    """Rules of a `plugins.toml`; `allow` is None if everything installed may give mixers.

    `resolve` settles short names, `mixers` are rules by the name that was written, `local` the
    mixers of the project itself, `trainers` its trainers. `file` is where the rules stand, as it
    was named. `consent` is the digest of the local code that the user has agreed to run; without
    it, `local_refusal` is why local code may not be run.
    """

    allow: dict[str, SpecifierSet] | None = None
    block: dict[str, SpecifierSet] = field(default_factory=dict)
    resolve: Mapping[str, str] = field(default_factory=dict)
    mixers: Mapping[str, MixerRules] = field(default_factory=dict)
    local: Mapping[str, LocalMixer] = field(default_factory=dict)
    trainers: Mapping[str, LocalMixer] = field(default_factory=dict)
    file: str = FILE_NAME
    source: TomlFile | None = None
    consent: str = ""

    @property
    def local_refusal(self) -> str | None:
        """The reason for which local mixers and trainers may not be run, None if they may."""
        if self.consent or not (self.local or self.trainers):
            return None
        return (
            f"{self.file} of the working directory names code that you have not agreed to run as "
            f"it is now; read it, then: search plugins trust; or once: --plugins {self.file}"
        )

    def refusal(self, distribution: str, version: str) -> str | None:
        """Why this distribution's mixers may not be used, or None if they may."""
        name = canonicalize_name(distribution)
        if self.allow is not None:
            if name not in self.allow:
                return f"{distribution} is not in [allow] of {self.file}"
            allowed = self.allow[name]
            if not _is_comparable(allowed, version):
                return f"{self.file} allows {distribution} {allowed}; {_not_comparable(version)}"
            if not allowed.contains(version, prereleases=True):
                return f"{self.file} allows {distribution} {allowed}, not {version}"
        if name not in self.block:
            return None
        blocked = self.block[name]
        if not _is_comparable(blocked, version):
            return f"{self.file} blocks {distribution} {blocked}; {_not_comparable(version)}"
        if blocked.contains(version, prereleases=True):
            return f"{self.file} blocks {distribution} {blocked}".rstrip()
        return None

    def of_mixer(self, canonical: str, short: str) -> MixerRules:
        """The rules of a mixer, written under its canonical name or its settled short one."""
        settled = self.resolve.get(short, short)
        return self.mixers.get(canonical) or (
            self.mixers.get(short, MixerRules()) if settled in (canonical, short) else MixerRules()
        )

    def check_names(self, found: Mapping[str, str]) -> None:
        """PluginsFileError if the rules name what there is not.

        `found` holds the distribution of every mixer that was found, by its canonical name. A
        distribution that is not installed may be named, lest a file hold on one machine only;
        one that is all but the name of an installed one is a slip of the pen.
        """
        if self.source is None:
            return
        distributions = set(found.values())
        for section, named in (("allow", self.allow or {}), ("block", self.block)):
            for distribution in named:
                meant = nearest(distribution, distributions)
                if distribution not in distributions and meant and not _installed(distribution):
                    words = f"{distribution} gives no mixers here{meant}"
                    self.source.mistakes.append(self.source.mistake((section, distribution), words))
        for short, canonical in self.resolve.items():
            with self.source.noting():
                self._check_resolved(short, canonical, found)
        meant_by: dict[str, str] = {}
        for name, rules in self.mixers.items():
            with self.source.noting():
                self._check_mixer(name, found)
                mixer = name if name in found else self._giver(name, found)
                first = meant_by.setdefault(mixer, rules.written)
                if first != rules.written:
                    words = f"means {mixer}, as {first} does; allowed: one of the two"
                    raise self.source.mistake(("mixers", rules.written), words)
        self.source.require_sound()

    def _check_resolved(self, short: str, canonical: str, found: Iterable[str]) -> None:
        assert self.source is not None
        if short in found:
            words = f"{short} is built in; its name stays its own"
            raise self.source.mistake(("resolve", short), words)
        givers = [name for name in found if name.rpartition("/")[2] == short]
        if canonical not in givers:
            allowed = ", ".join(givers) or f"none, as nothing installed gives {short}"
            words = f"got {canonical!r}; allowed: {allowed}{nearest(canonical, givers)}"
            raise self.source.mistake(("resolve", short), words)

    def _giver(self, short: str, found: Iterable[str]) -> str:
        """The canonical name of the mixer that `short` means."""
        givers = (known for known in found if known.rpartition("/")[2] == short)
        return self.resolve.get(short) or next(givers)

    def _check_mixer(self, name: str, found: Mapping[str, str]) -> None:
        assert self.source is not None
        if name in found:
            return
        givers = [known for known in found if known.rpartition("/")[2] == name]
        if not givers:
            words = f"no such mixer; installed: {', '.join(sorted(found))}{nearest(name, found)}"
            raise self.source.mistake(("mixers", self.mixers[name].written), words)
        if len(givers) > 1 and name not in self.resolve:
            words = f"is given by more than one; allowed: {', '.join(sorted(givers))}"
            raise self.source.mistake(("mixers", self.mixers[name].written), words)


def read_plugin_rules(path: str | Path | None = None, *, consent: str | None = None) -> PluginRules:
    """The rules of `path`, else of `plugins.toml` in the working directory, else none.

    Whoever names `path` agrees to run the local code it names. Code that the working directory's
    file names may be run if its user has agreed to that before: see `mixers/trust.py`.

    Args:
        path: A `plugins.toml`.
        consent: The `consent` of another process's rules, which decides instead; what it agreed
            to has been announced there. Empty: no local code may be run.

    Raises:
        PluginsFileError: The file is missing though named, is not TOML, or holds what it may not.
        PluginError: This machine does not let it be read, or the local code is not what `consent`
            was given for.
    """
    file = Path(path) if path is not None else Path(FILE_NAME)
    if path is None and not os.path.isfile(file):
        return PluginRules()
    source = read_toml(file)
    source.require_known((), source.data, _KEYS)
    with source.noting():
        _check_schema(source)
    announced = consent is not None
    local = _local(source, file.parent, "local", "CLASS", announced=announced)
    trainers = _local(source, file.parent, "trainers", "FUNCTION", announced=announced)
    allow = _versions(source, "allow") if "allow" in source.data else None
    block, resolve, mixers = _versions(source, "block"), _resolve(source), _mixers(source)
    source.require_sound()
    digest = _local_digest(source, [*local.values(), *trainers.values()])
    if consent and consent != digest:
        raise PluginError(
            f"{source.name}, or code that it names, has changed since the command was started; "
            "start it again"
        )
    agreed = is_trusted(file, digest) if path is None and consent is None else consent != ""
    return PluginRules(
        allow=allow,
        block=block,
        resolve=resolve,
        mixers=mixers,
        local=local,
        trainers=trainers,
        file=source.name,
        source=source,
        consent=digest if agreed else "",
    )


def _local_digest(source: TomlFile, code: Iterable[LocalMixer]) -> str:
    """The SHA-256 of the rules' text and of every Python file that they name."""
    lines = [hashlib.sha256(source.text.encode()).hexdigest()]
    lines += sorted({f"{local.digest} {local.written}" for local in code})
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _check_schema(source: TomlFile) -> None:
    if "schema" not in source.data:
        raise source.mistake(("schema",), "missing; allowed: schema = 1 as the first line")
    if type(source.data["schema"]) is not int or source.data["schema"] != 1:
        raise source.mistake(("schema",), f"got {shown(source.data['schema'])}; allowed: 1")


def _versions(source: TomlFile, section: str) -> dict[str, SpecifierSet]:
    versions = {}
    table = source.table(section, allowed="a table of distributions and versions")
    for distribution, version in table.items():
        with source.noting():
            found = _range(source, (section, distribution), version)
            versions[str(canonicalize_name(distribution))] = found
    _require_distinct(source, section, table, lambda name: str(canonicalize_name(name)))
    return versions


def _range(source: TomlFile, place: tuple[str, str], version: Any) -> SpecifierSet:
    if not isinstance(version, str):
        words = f"got {shown(version)}; allowed: a version range as text, or '*'"
        raise source.mistake(place, words)
    specifiers = _specifiers("" if version == "*" else version)
    if specifiers is None:
        meant = f"'=={version}'" if _specifiers(f"=={version}") is not None else None
        words = f"got {version!r}; allowed: a version range such as '>=1.2,<2', or '*'"
        raise source.mistake(place, words + did_you_mean(meant))
    return specifiers


def canonical_name(written: str) -> str:
    """Return a mixer's name with its distribution, if it has one, normalised (PEP 503)."""
    distribution, slash, short = written.rpartition("/")
    return f"{canonicalize_name(distribution)}{slash}{short}" if slash else written


def _require_distinct(
    source: TomlFile, section: str, table: Mapping[str, Any], normalised: Callable[[str], str]
) -> None:
    """Collect a mistake for the second of two keys that mean one thing."""
    seen: dict[str, str] = {}
    for key in table:
        first = seen.setdefault(normalised(key), key)
        if first != key:
            words = f"means the same as {first} in {source.place(section, first)}; allowed: one"
            source.mistakes.append(source.mistake((section, key), words))


def _is_comparable(specifiers: SpecifierSet, version: str) -> bool:
    """Return whether the version can be compared; `===` and no specifier compare any text."""
    try:
        Version(version)
    except InvalidVersion:
        return all(specifier.operator == "===" for specifier in specifiers)
    return True


def _not_comparable(version: str) -> str:
    return f"the installed version is {version!r}, which cannot be compared and is not let through"


def _installed(distribution: str) -> bool:
    """Return whether it is here, be it for its trainers."""
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _specifiers(version: str) -> SpecifierSet | None:
    try:
        return SpecifierSet(version)
    except InvalidSpecifier:
        return None


def _resolve(source: TomlFile) -> dict[str, str]:
    table = source.table("resolve", allowed="a table of short names and canonical ones")
    resolved = {}
    for name, canonical in table.items():
        if isinstance(canonical, str) and "/" in canonical:
            resolved[name] = canonical_name(canonical)
        else:
            words = f"got {shown(canonical)}; allowed: 'distribution/{name}'"
            source.mistakes.append(source.mistake(("resolve", name), words))
    return resolved


def _mixers(source: TomlFile) -> dict[str, MixerRules]:
    rules = {}
    mixers = source.table("mixers", allowed="a table of mixers")
    for name in mixers:
        path = ("mixers", name)
        said = source.table(*path, allowed="a table of enabled, defaults and search")
        source.require_known(path, said, ("enabled", "defaults", "search"))
        enabled = said.get("enabled", True)
        if not isinstance(enabled, bool):
            words = f"got {shown(enabled)}; allowed: true, false"
            source.mistakes.append(source.mistake((*path, "enabled"), words))
        defaults, search = (
            source.table(*path, table, allowed="a table of options")
            for table in ("defaults", "search")
        )
        place = _placed(source, path)
        rules[canonical_name(name)] = MixerRules(enabled, defaults, search, place, written=name)
    _require_distinct(source, "mixers", mixers, canonical_name)
    return rules


def _placed(source: TomlFile, path: tuple[str, ...]) -> Callable[[str, str], str]:
    def place(table: str, key: str) -> str:
        return f"{source.place(*path, table, key)}: {'.'.join((*path, table, key))}"

    return place


def _local(
    source: TomlFile, folder: Path, table: str, kind: str, *, announced: bool
) -> dict[str, LocalMixer]:
    """Names of a table that point to files of the project; `kind` is a class or a function."""
    local = {}
    for name, written in source.table(table, allowed="a table of names and files").items():
        with source.noting():
            file, class_name = _local_code(source, folder, (table, name), written, kind)
            whose = f"{'trainer ' if table == 'trainers' else ''}{LOCAL_DISTRIBUTION}/{name}"
            notice = f"{whose} is run from {written}, as {source.name} says"
            local[name] = LocalMixer(
                file, class_name, written, file_digest(file), "" if announced else notice
            )
    return local


def _local_code(
    source: TomlFile, folder: Path, place: tuple[str, str], written: Any, kind: str
) -> tuple[Path, str]:
    """The file and the name in it that an entry of [local] or [trainers] means."""
    name = place[1]
    is_text = isinstance(written, str) and written.isprintable()
    match = _LOCAL.fullmatch(written) if is_text else None
    if match is None:
        words = f"got {shown(written)}; allowed: 'FILE.py:{kind}', the file next to {FILE_NAME}"
        raise source.mistake(place, words)
    if not _IDENTIFIER.fullmatch(name):
        raise source.mistake(place, "no name; allowed: letters, digits and _")
    if name in RESERVED_WORDS:
        words = f"a word of specs and studies; allowed: a name but {_RESERVED}"
        raise source.mistake(place, words)
    file = (folder / match["file"]).resolve()
    if not file.is_file():
        raise source.mistake(place, f"no such file: {folder / match['file']}")
    return file, match["name"]
