from __future__ import annotations

from torch import Tensor, nn

from mixers.interface import Site


class IdentityMixing(nn.Module):
    """No mixing at all: IdentityFormer's mixer (MetaFormer Baselines), a control for others.

    (B, C, H, W) -> (B, C, H, W).
    """

    supports_dilation = True
    supports_torchscript = True
    supports_fx = True

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.receptive_field = (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x
