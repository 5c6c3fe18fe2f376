from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mixers import Site


class TakesAnything(nn.Module):
    def __init__(self, site: Site, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        return x
