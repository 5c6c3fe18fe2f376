"""Its state holds more than tensors."""

from __future__ import annotations

from torch import Tensor, nn

from mixers import Site


class Broken(nn.Module):
    def __init__(self, site: Site) -> None:
        super().__init__()
        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state == {"version": 1}

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
