"""Backbones as people write them, and what is answered."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaformer import BackboneSpec, SpecError, load_spec
from mixers import MixerRegistry

VALID = """\
schema: 1
name: mine
num_classes: 10
stem: {kernel_size: 4, stride: 4, norm: batch_norm}
downsample: {norm: batch_norm}
stages:
  - depth: 3
    width: 96
    block: metanext
    mixer: inception_dw
    norm: batch_norm
    layer_scale: 1e-6
  - depth: 4
    width: 192
    block: metaformer
    mixer: [separable_conv, separable_conv, {window_attention: {window: 7}}]
    norm: {kind: layer_norm, eps: 1e-5}
head: {kind: linear}
"""


def load(text: str, registry: MixerRegistry) -> BackboneSpec:
    Path("my.yaml").write_text(text)
    return load_spec("my.yaml", registry)


def problem_of(text: str, registry: MixerRegistry) -> str:
    with pytest.raises(SpecError) as caught:
        load(text, registry)
    return str(caught.value)
