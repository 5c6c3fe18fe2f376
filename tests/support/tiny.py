"""A study so small that a trial takes about a second, through all of the real path."""

from __future__ import annotations

from pathlib import Path

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
