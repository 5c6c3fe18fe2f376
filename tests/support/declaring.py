"""Sources of mixers that declare what they allow or require."""

from __future__ import annotations

HEAD = """\
from typing import Annotated
import torch
from torch import nn
from mixers import Choice, Site


"""


def declaring_source(
    declared: str = "", *, constructor: str = "pass", forward: str = "pass"
) -> str:
    """A module with one mixer, `Mixer`: a 3×3 convolution with an option `groups`."""
    lines = "".join(f"    {line}\n" for line in declared.splitlines())
    return (
        f"{HEAD}class Mixer(nn.Module):\n{lines}\n"
        "    def __init__(self, site: Site, *, groups: Annotated[int, Choice(1, 2)] = 1) -> None:\n"
        "        super().__init__()\n"
        f"        {constructor}\n"
        "        c = site.channels\n"
        "        self.conv = nn.Conv2d(c, c, 3, padding=1, groups=groups)\n\n"
        "    def forward(self, x):\n"
        f"        {forward}\n"
        "        return self.conv(x)\n"
    )


def allowing(answer: str) -> str:
    """A declaration of `allows` that returns this expression of `site` and `groups`."""
    return f"@staticmethod\ndef allows(site, *, groups):\n    return {answer}\n"


NEEDS_CUDA = 'requires = ("cuda",)'
