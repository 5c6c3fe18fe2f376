"""A mixer as data: its name and its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mixers.options import OptionValue


@dataclass(frozen=True, slots=True)
class MixerSpec:
    """Name and options of a mixer, hashable; what is not stated takes the mixer's default."""

    name: str
    items: tuple[tuple[str, OptionValue], ...] = ()

    @classmethod
    def of(cls, name: str, options: Mapping[str, OptionValue] | None = None) -> MixerSpec:
        return cls(name, tuple(sorted((options or {}).items())))

    @property
    def options(self) -> dict[str, OptionValue]:
        return dict(self.items)

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in self.items)
        return f"{self.name}({options})" if options else self.name
