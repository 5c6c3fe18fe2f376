from __future__ import annotations

from typing import Annotated

from torch import Tensor, nn

from mixers.activations import StarReLU
from mixers.initialization import initialise_projections
from mixers.interface import Site
from mixers.options import Choice, FloatRange
from mixers.pointwise import Pointwise


class SeparableConv(nn.Module):
    """Pointwise expansion, StarReLU, depthwise convolution, pointwise projection.

    (B, C, H, W) -> (B, C, H, W). The inverted separable convolution of MobileNetV2 as
    ConvFormer uses it: no biases, an activation after the first pointwise layer only
    (MetaFormer Baselines, "ConvFormer").
    """

    supports_dilation = True
    supports_torchscript = True

    def __init__(
        self,
        site: Site,
        *,
        kernel_size: Annotated[int, Choice(3, 5, 7, 9, 11, search=(3, 5, 7))] = 7,
        expansion: Annotated[float, FloatRange(0.25, 8.0, search=(1.0, 2.0))] = 2.0,
    ) -> None:
        super().__init__()
        hidden = int(site.channels * expansion)
        if hidden < 1:
            raise ValueError(
                f"expansion: got {expansion}; {site.channels} channels "
                f"need {1 / site.channels:g} or more"
            )
        reach = site.dilation * (kernel_size - 1) + 1
        self.receptive_field = (reach, reach)
        self.expand = Pointwise(site.channels, hidden, bias=False)
        self.activation = StarReLU()
        self.depthwise = nn.Conv2d(
            hidden,
            hidden,
            kernel_size,
            padding=kernel_size // 2 * site.dilation,
            dilation=site.dilation,
            groups=hidden,
            bias=False,
        )
        self.contract = Pointwise(hidden, site.channels, bias=False)
        initialise_projections(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(self.depthwise(self.activation(self.expand(x))))
