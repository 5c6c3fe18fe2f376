from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional as F

from mixers.interface import Site
from mixers.options import Choice


class Pooling(nn.Module):
    """Mean of the neighbourhood minus the position itself (PoolFormer, eq. 4).

    (B, C, H, W) -> (B, C, H, W). The border counts only positions inside the map.
    """

    supports_torchscript = True
    supports_fx = True

    def __init__(
        self, site: Site, *, pool_size: Annotated[int, Choice(3, 5, 7, 9, search=(3, 5))] = 3
    ) -> None:
        super().__init__()
        self.receptive_field = (pool_size, pool_size)
        self.pool_size = pool_size

    def forward(self, x: Tensor) -> Tensor:
        mean = F.avg_pool2d(
            x, self.pool_size, stride=1, padding=self.pool_size // 2, count_include_pad=False
        )
        return mean - x
