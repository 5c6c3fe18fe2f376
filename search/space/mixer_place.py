"""Where a mixer is written in a space, and how its parameters are called."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class MixerPlace:
    """Where a mixer is written: its path, the prefix of its parameters, its stage's block.

    Which mixers `any` stands for depends on the block, so where the block is searched each of
    its values has a parameter of its own.
    """

    path: tuple[str | int, ...]
    name: str
    block: str
    block_is_searched: bool

    @property
    def parameter(self) -> str:
        return f"{self.name}.{self.block}.mixer" if self.block_is_searched else f"{self.name}.mixer"

    def in_pattern(self, index: int) -> MixerPlace:
        return replace(self, path=(*self.path, index), name=f"{self.name}.{index}")


def inside(name: str, part: str | int) -> str:
    return f"{name}.{part}" if name else str(part)
