"""Third-party trainers: entry points of `metaformer.trainers`, and `[trainers]` of `plugins.toml`.

The rules are those of mixers: a distribution must be allowed, a local file must be named by the
project, and no study file holds an import path that is run because it stands there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from mixers.errors import InputError, PluginError, nearest
from mixers.local import LOCAL_DISTRIBUTION, LocalMixer
from mixers.plugins_file import PluginRules
from mixers.provenance import files_digest, install_origin
from mixers.scan import scan
from mixers.third_party_code import ThirdPartyError, call_guarded
from search.errors import UsageError

if TYPE_CHECKING:
    from search.training._context import Trainer

GROUP = "metaformer.trainers"
_ARGUMENTS = ("model", "data", "config", "context")


class TrainerError(InputError):
    """A user's trainer that raised, or did not do what trainers do."""


@dataclass(frozen=True)
class TrainerEntry:
    """One trainer that could be used; `load` imports it, `origin` tells where it came from."""

    short_name: str
    distribution: str
    version: str
    entry_point: str
    load: Callable[[], object]
    origin: Callable[[], dict[str, str]]

    @property
    def name(self) -> str:
        """Canonical: `distribution/name`."""
        return f"{self.distribution}/{self.short_name}"

    @property
    def label(self) -> str:
        return f"trainer {self.name} ({self.distribution} {self.version}, {self.entry_point})"

    @cached_property
    def function(self) -> Trainer:
        """The trainer itself; PluginError if it cannot be imported or takes other arguments."""
        try:
            loaded = call_guarded(self.load)
        except ThirdPartyError as error:
            raise PluginError(f"{self.label} cannot be imported: {error}") from error.__cause__
        if not callable(loaded) or isinstance(loaded, type):
            raise PluginError(f"{self.label} is no function")
        try:
            inspect.signature(loaded).bind(*_ARGUMENTS)
        except TypeError:
            takes = f"takes {inspect.signature(loaded)}; allowed: ({', '.join(_ARGUMENTS)})"
            raise PluginError(f"{self.label} {takes}") from None
        function: Trainer = loaded
        return function

    def fingerprint(self) -> dict[str, str]:
        """Return what identifies the trainer's code, so that a change is detected."""
        return {
            "name": self.name,
            "distribution": self.distribution,
            "version": self.version,
            "entry_point": self.entry_point,
            **self.origin(),
        }


def find_trainer(
    name: str, rules: PluginRules, points: Iterable[EntryPoint] | None = None
) -> TrainerEntry:
    """The trainer of that name: `distribution/name`, `local/NAME`, the name alone if one only
    has it, or an entry point's own `package:function`. Imports nothing.

    UsageError if there is none or more than one, PluginError if `rules` do not allow it.
    """
    found = [*_installed(scan(GROUP) if points is None else points)]
    found += [_local(short, file) for short, file in rules.trainers.items()]
    named = [entry for entry in found if name in (entry.name, entry.short_name, entry.entry_point)]
    known = sorted({entry.name for entry in found})
    if not named:
        names = [entry.short_name for entry in found] if "/" not in name else known
        there = f"; installed: {', '.join(known) or 'none'}{nearest(name, names)}"
        words = f"no trainer of the entry-point group {GROUP}, nor of [trainers] in {rules.file}"
        raise UsageError(f"train.trainer: got {name}: {words}{there}")
    if len({entry.name for entry in named}) > 1:
        allowed = ", ".join(sorted(entry.name for entry in named))
        raise UsageError(f"train.trainer: got {name}, which several have; allowed: {allowed}")
    entry = named[0]
    if entry.distribution == LOCAL_DISTRIBUTION:
        if rules.local_refusal is not None:
            raise PluginError(f"{entry.label} is untrusted: {rules.local_refusal}")
        return entry
    refusal = rules.refusal(entry.distribution, entry.version)
    if refusal is not None:
        raise PluginError(f"{entry.label} is installed but blocked: {refusal}")
    return entry


def _installed(points: Iterable[EntryPoint]) -> Iterable[TrainerEntry]:
    for point in points:
        if point.dist is None:
            continue
        yield _of_point(point)


def _of_point(point: EntryPoint) -> TrainerEntry:
    def origin() -> dict[str, str]:
        assert point.dist is not None
        return {"origin": install_origin(point.dist), "files": files_digest(point.dist)}

    assert point.dist is not None
    distribution = str(canonicalize_name(point.dist.name))
    version = point.dist.version
    return TrainerEntry(point.name, distribution, version, point.value, point.load, origin)


def _local(name: str, local: LocalMixer) -> TrainerEntry:
    def origin() -> dict[str, str]:
        return {"origin": f"file {local.file}", "files": local.version()}

    version = local.version()
    return TrainerEntry(name, LOCAL_DISTRIBUTION, version, local.written, local.load, origin)
