"""A study so small that a trial takes about a second, through all of the real path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

STUDY = """\
schema: 1
name: tiny
budget: {train: 1}
measure: {image_size: 8, batch_size: 4}
train: {data: digits, image_size: 8, batch_size: 256, epochs: 1}
search: {trials: 3}
space:
  stem: {kernel_size: 2, stride: 2, norm: batch_norm}
  stages:
    - depth: {choice: [1, 2]}
      width: {choice: [4, 6, 8]}
      block: metanext
      mixer: {choice: [identity, pooling]}
      norm: batch_norm
  head: {norm: layer_norm}
"""

BASELINE = """\
schema: 1
name: mine
stem: {kernel_size: 2, stride: 2, norm: batch_norm}
stages: [{depth: 1, width: 4, block: metanext, mixer: pooling, norm: batch_norm}]
head: {norm: layer_norm}
"""


def write_study(text: str = STUDY, name: str = "tiny.yaml") -> Path:
    path = Path(name)
    path.write_text(text)
    return path


def write_images(root: Path, count: int) -> None:
    """Noise of 8 pixels: `count` of each of two classes in each of three splits."""
    generator = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        for name in ("a", "b"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
