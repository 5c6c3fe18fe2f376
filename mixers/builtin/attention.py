from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional as F

from mixers.initialization import initialise_projections
from mixers.interface import Site
from mixers.options import Choice


class Attention(nn.Module):
    """Multi-head self-attention over all H·W positions (Vaswani et al., eq. 1).

    (B, C, H, W) -> (B, C, H, W). As in CAFormer: heads of a fixed width, no biases, no
    position embedding.
    """

    needs_normalised_input = True
    supports_dilation = True
    supports_torchscript = True
    supports_fx = True

    def __init__(
        self,
        site: Site,
        *,
        head_width: Annotated[int, Choice(8, 16, 24, 32, 48, 64, search=(16, 32))] = 32,
        qkv_bias: Annotated[bool, Choice(False, True, search=(False,))] = False,
        projection_bias: Annotated[bool, Choice(False, True, search=(False,))] = False,
    ) -> None:
        super().__init__()
        self.receptive_field = (site.height, site.width)
        self.head_width = head_width
        self.heads = max(1, site.channels // head_width)
        inner = self.heads * head_width
        self.qkv = nn.Linear(site.channels, 3 * inner, bias=qkv_bias)
        self.project = nn.Linear(inner, site.channels, bias=projection_bias)
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        tokens = x.permute(0, 2, 3, 1).reshape(batch, height * width, -1)
        qkv = self.qkv(tokens).reshape(batch, height * width, 3, self.heads, self.head_width)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(query, key, value)
        mixed = mixed.transpose(1, 2).reshape(batch, height, width, -1)
        return self.project(mixed).permute(0, 3, 1, 2)
