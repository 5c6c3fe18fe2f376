from __future__ import annotations

import math
from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional as F

from mixers import Choice, FloatRange, Site

_LOCAL_KERNEL = 5  # of the first depthwise step: 2·3 − 1
_SPACING = 3  # between the taps of the second one: the paper's d


class GatedLargeKernel(nn.Module):
    """Large kernel attention: (B, C, H, W) -> (B, C, H, W).

    Guo et al. 2022, Visual Attention Network (arXiv:2202.09741), eq. 1 and 2: a depthwise 5×5
    kernel, a depthwise one whose taps stand 3 apart and a 1×1 convolution make a gate, and the gate
    multiplies what it was computed from. Around it stand 1×1 convolutions, with a GELU behind the
    first, as in the paper's figure 3. `expansion` is the width between those, in channels of the
    input; the paper's is 1.
    """

    supports_dilation = True
    supports_torchscript = True
    supports_fx = True

    def __init__(
        self,
        site: Site,
        *,
        kernel_size: Annotated[int, Choice(9, 15, 21, 33, search=(9, 15, 21))] = 21,
        expansion: Annotated[float, FloatRange(0.25, 4.0, search=(0.5, 1.0))] = 1.0,
    ) -> None:
        super().__init__()
        width = int(site.channels * expansion)
        if width < 1:
            raise ValueError(f"expansion: got {expansion}; too little for {site.channels} channels")
        self.enter = nn.Conv2d(site.channels, width, 1)
        self.local = _depthwise(width, _LOCAL_KERNEL, site.dilation)
        self.spread = _depthwise(width, kernel_size // _SPACING, _SPACING * site.dilation)
        self.gate = nn.Conv2d(width, width, 1)
        self.leave = nn.Conv2d(width, site.channels, 1)
        taps = _LOCAL_KERNEL - 1 + _SPACING * (kernel_size // _SPACING - 1)
        self.receptive_field = (taps * site.dilation + 1, taps * site.dilation + 1)
        self._initialise()

    def _initialise(self) -> None:
        """As the paper's code does: normal, the deviation √(2 / fan-out); biases 0."""
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                fan_out = part.kernel_size[0] * part.kernel_size[1] * part.out_channels
                nn.init.normal_(part.weight, std=math.sqrt(2 * part.groups / fan_out))
                if part.bias is not None:
                    nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> Tensor:
        entered = F.gelu(self.enter(x))
        return self.leave(self.gate(self.spread(self.local(entered))) * entered)


def _depthwise(channels: int, kernel_size: int, dilation: int) -> nn.Conv2d:
    reach = kernel_size // 2 * dilation
    return nn.Conv2d(
        channels, channels, kernel_size, padding=reach, dilation=dilation, groups=channels
    )
