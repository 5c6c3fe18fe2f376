"""Mixers that misbehave where a stranger's might: they allocate too much, return NaN, raise."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from email.message import Message
from importlib.metadata import Distribution, EntryPoint

import torch
from torch import Tensor, nn

from mixers import MixerRegistry, Site
from mixers._registry import registry_of
from mixers.plugins_file import PluginRules
from mixers.scan import GROUP


class Hungry(nn.Module):
    """Asks torch for a petabyte."""

    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:
            return x
        return x + torch.empty(2**50, dtype=torch.uint8, device=x.device)[0]


class NotANumber(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x * float("nan")


class Raising(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        if x.is_meta:
            return x
        raise KeyError("a stranger's mistake")


class _Distribution(Distribution):
    def __init__(self, name: str, version: str, requires: Sequence[str] = ()) -> None:
        self._metadata = Message()
        self._metadata["Name"], self._metadata["Version"] = name, version
        for requirement in requires:
            self._metadata["Requires-Dist"] = requirement

    @property
    def metadata(self):  # type: ignore[no-untyped-def]
        return self._metadata

    def read_text(self, filename: str) -> None:
        return None

    def locate_file(self, path: object) -> object:
        return path


def entry_point(
    distribution: str,
    name: str,
    value: str,
    version: str = "1.0",
    requires: Sequence[str] = (),
) -> EntryPoint:
    """An entry point as if `distribution` were installed."""
    point = EntryPoint(name, value, GROUP)
    owner = _Distribution(distribution, version, requires)
    return point._for(owner)  # type: ignore[attr-defined]


def with_misbehaving(own: Sequence[EntryPoint]) -> MixerRegistry:
    """The registry of `own` and the three mixers of this module."""
    assert "misbehaving" in sys.modules
    points = [
        entry_point("strangers", name, f"misbehaving:{kind}")
        for name, kind in (("hungry", "Hungry"), ("nan", "NotANumber"), ("raising", "Raising"))
    ]
    return registry_of([*own, *points], PluginRules())
