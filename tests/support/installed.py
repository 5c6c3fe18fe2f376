"""A distribution with mixers, installed by hand into a folder of the import path."""

from __future__ import annotations

from pathlib import Path

HEAD = """\
from typing import Annotated
from torch import nn
from mixers import Choice, Site
"""


def mixer_source(*, constructor: str = "pass", forward: str = "pass", head: str = "") -> str:
    """A module with one mixer, `Mixer`: a convolution, and these statements before it."""
    return (
        f"{head}\n{HEAD}\n"
        "class Mixer(nn.Module):\n"
        "    def __init__(self, site: Site) -> None:\n"
        "        super().__init__()\n"
        f"        {constructor}\n"
        "        self.conv = nn.Conv2d(site.channels, site.channels, 3, padding=1)\n"
        "    def forward(self, x):\n"
        f"        {forward}\n"
        "        return self.conv(x)\n"
    )


def install(folder: Path, name: str, source: str, *, distribution: str = "strangers") -> None:
    """The mixer `name` of `distribution` 1.0, class `Mixer` of a module with this source."""
    module = f"{distribution}_{name}"
    (folder / f"{module}.py").write_text(source, encoding="utf-8")
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
    points = f"[metaformer.mixers]\n{name} = {module}:Mixer\n"
    record = "".join(
        f"{file},,\n"
        for file in (
            f"{module}.py",
            *(f"{info.name}/{part}" for part in ("METADATA", "RECORD", "entry_points.txt")),
        )
    )
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    (info / "RECORD").write_text(record, encoding="utf-8")
