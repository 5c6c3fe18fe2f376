from __future__ import annotations

import ctypes

from torch import Tensor, nn

from mixers import Site


class Crashing(nn.Module):
    """As an extension of an author's own might: it reads memory that is not its process's."""

    def __init__(self, site: Site) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        ctypes.string_at(0)
        return x
