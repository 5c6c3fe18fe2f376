"""Bad mixers that change what their process shares, or use it up."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixers import Site


class _Depthwise(nn.Module):
    """ConvNeXt's depthwise convolution (Liu et al. 2022, arXiv:2201.03545, section 2.3)."""

    def __init__(self, site: Site) -> None:
        super().__init__()
        channels = site.channels
        self.conv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class SeedsInTraining(_Depthwise):
    """Stochastic shifts (arXiv:2201.10801) from the same seed at each step."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            torch.manual_seed(0)
            x = x.roll(int(torch.randint(0, 2, ()).item()), 2) if not x.is_meta else x
        return self.conv(x)


class SeedsWhatItDrew(_Depthwise):
    """DropBlock (Ghiasi et al. 2018, arXiv:1810.12890) that puts torch's generator back."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            torch.default_generator.manual_seed(1234)
            x = F.dropout2d(x, 0.1)
        return self.conv(x)


class DrawsFromPython(_Depthwise):
    """Stochastic depth (Huang et al. 2016, arXiv:1603.09382), eq. 2, by Python's generator."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not torch.compiler.is_compiling():
            x = x * (0.5 + random.random())
        return self.conv(x)


class DrawsFromNumpy(_Depthwise):
    """Shake-Shake (Gastaldi 2017, arXiv:1705.07485), section 2.1, by numpy's generator."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not torch.compiler.is_compiling():
            x = x * float(np.random.uniform(0.5, 1.5))
        return self.conv(x)


class ChangesDirectory(_Depthwise):
    """It goes to where a kernel would be compiled, and stays there."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        os.chdir(tempfile.gettempdir())


class ChangesUmask(_Depthwise):
    """It makes a cache that others can read, and all files after it."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        os.umask(0)


class ChangesEnvironmentInTraining(_Depthwise):
    """It sets a library's variable at the first training step."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not torch.compiler.is_compiling():
            os.environ["CUDA_LAUNCH_BLOCKING"] = "1"
        return self.conv(x)


class ChangesImportPath(_Depthwise):
    """It adds its folder to the import path."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        sys.path.insert(0, tempfile.gettempdir())


class ChangesSignals(_Depthwise):
    """It ignores Ctrl-C while it mixes, and ever after."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


class ChangesLogging(_Depthwise):
    """It silences everyone's log."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        logging.getLogger().setLevel(logging.CRITICAL)


def _fast_gelu(x: Tensor, approximate: str = "none") -> Tensor:
    return x * torch.sigmoid(1.702 * x)


class ReplacesFunction(_Depthwise):
    """The GELU of Hendrycks and Gimpel (arXiv:1606.08415) by a sigmoid, for everyone."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        F.gelu = _fast_gelu


class ReplacesMethod(_Depthwise):
    """Weight standardisation (Qiao et al. 2019, arXiv:1903.10520), eq. 7, in every Conv2d."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not torch.compiler.is_compiling():

            def forward(conv: nn.Conv2d, x: Tensor) -> Tensor:
                weight = conv.weight - conv.weight.mean((1, 2, 3), keepdim=True)
                return conv._conv_forward(x, weight, conv.bias)

            nn.Conv2d.forward = forward  # type: ignore[method-assign]
        return self.conv(x)


class AddsHookToAll(_Depthwise):
    """It watches the activations of every module of the process."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        nn.modules.module.register_module_forward_hook(lambda *_: None)


class AllowsTf32(_Depthwise):
    """It allows TF32 in cuDNN and in matrix products."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        torch.backends.cudnn.allow_tf32 = not torch.backends.cudnn.allow_tf32


class TunesCudnn(_Depthwise):
    """It switches cuDNN's benchmark on at the first step."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            torch.backends.cudnn.benchmark = True
        return self.conv(x)


class ChoosesAttention(_Depthwise):
    """Attention by the plain kernel only, for everyone (FlashAttention, arXiv:2205.14135)."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        torch.backends.cuda.enable_flash_sdp(False)


class SwitchesMkldnn(_Depthwise):
    """It switches oneDNN off, since its depthwise kernel was slow once."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        torch.backends.mkldnn.enabled = False


class WatchesForNan(_Depthwise):
    """It switches anomaly detection on in training."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not torch.compiler.is_compiling():
            torch.autograd.set_detect_anomaly(True)
        return self.conv(x)


class KeepsInputs(_Depthwise):
    """It keeps its inputs for a plot of their statistics (arXiv:1803.08494)."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and not x.is_meta and x.shape[0] == 2:
            self.seen.append(x.detach())
        return self.conv(x)


_MEMORY: dict[int, Tensor] = {}


class KeepsCopies(_Depthwise):
    """A memory bank (Wu et al. 2018, arXiv:1805.01978) of the module's file, never emptied."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not torch.compiler.is_compiling() and not x.is_meta:
            _MEMORY[len(_MEMORY)] = x.detach().mean((2, 3))
        return self.conv(x)


class StartsThread(_Depthwise):
    """It watches the memory in a thread."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        threading.Thread(target=threading.Event().wait, args=(20,), daemon=True).start()


class StartsProcess(_Depthwise):
    """It starts a compiler's server."""

    all_started: ClassVar[list[subprocess.Popen[bytes]]] = []

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.all_started.append(subprocess.Popen(["sleep", "20"]))


_LOGS: list[Any] = []


class LeavesFileOpen(_Depthwise):
    """It opens a log for each mixer."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        _LOGS.append(open(os.devnull, "a"))  # noqa: SIM115
