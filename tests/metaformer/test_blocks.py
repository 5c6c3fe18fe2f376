"""The block forms and their options against the same computation written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from metaformer import DownsampleSpec, StageSpec
from metaformer._layers import ChannelMlp, Stem, map_size_after
from metaformer.blocks import BLOCKS, build_downsample
from metaformer.spec_parts import MlpSpec, StemSpec


def stage(**fields: Any) -> StageSpec:
    data = {"depth": 1, "width": 6, "mixer": "identity", "norm": "batch_norm", **fields}
    return StageSpec.model_validate(data)


def random_weights(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.3, 0.5)
        for name, buffer in module.named_buffers():
            if name.endswith(("mean", "var")):
                buffer.uniform_(0.5, 1.5)
    return module.eval()


def layer(x: Tensor, convolution: Any) -> Tensor:
    return F.conv2d(x, convolution.weight.reshape(*convolution.weight.shape[:2], 1, 1),
                    convolution.bias)  # fmt: skip


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_a_gated_mlp_multiplies_one_half_by_the_activation_of_the_other(kind: str) -> None:
    spec = MlpSpec.model_validate({"kind": kind, "ratio": 2, "gated": True, "activation": "silu"})
    mlp: Any = random_weights(ChannelMlp(spec, 4, 4, 8))
    x = torch.randn(2, 4, 3, 5)
    gate, value = layer(x, mlp.fc1).split(8, dim=1)
    torch.testing.assert_close(mlp(x), layer(F.silu(gate) * value, mlp.fc2))
    assert sum(p.numel() for p in mlp.parameters()) == (4 * 16 + 16) + (8 * 4 + 4)


def test_a_norm_of_the_mlp_stands_behind_each_of_its_layers() -> None:
    spec = MlpSpec.model_validate({"ratio": 2, "norm": "batch_norm", "activation": "relu"})
    mlp: Any = random_weights(ChannelMlp(spec, 4, 4, 8))
    x = torch.randn(2, 4, 3, 3)
    hidden = F.relu(mlp.norm1(layer(x, mlp.fc1)))
    torch.testing.assert_close(mlp(x), mlp.norm2(layer(hidden, mlp.fc2)))


@pytest.mark.parametrize("activations", ["mlp", "all"])
def test_a_bottleneck_has_its_mixer_between_the_layers_of_the_mlp(activations: str) -> None:
    mlp = {"ratio": 0.5, "activation": "relu", "norm": "batch_norm"}
    spec = stage(block="bottleneck", mlp=mlp, activations=activations)
    mixer = nn.Conv2d(3, 3, 3, padding=1)
    block: Any = random_weights(BLOCKS["bottleneck"](spec, mixer, 0.0))
    act = F.relu if activations == "all" else lambda x: x
    x = torch.randn(2, 6, 5, 5)
    inside = F.relu(block.mlp.norm1(layer(x, block.mlp.fc1)))
    inside = act(block.norm(mixer(inside)))
    changed = block.mlp.norm2(layer(inside, block.mlp.fc2))
    torch.testing.assert_close(block(x), act(x + changed))


def test_all_activations_of_a_metanext_block_stand_behind_norm_layer_and_sum() -> None:
    mlp = {"ratio": 2, "activation": "relu", "norm": "batch_norm"}
    spec = stage(block="metanext", mlp=mlp, activations="all")
    mixer = nn.Conv2d(6, 6, 3, padding=1, groups=6)
    block: Any = random_weights(BLOCKS["metanext"](spec, mixer, 0.0))
    x = torch.randn(2, 6, 5, 5)
    normed = F.relu(block.norm(mixer(x)))
    hidden = F.relu(block.mlp.norm1(layer(normed, block.mlp.fc1)))
    changed = block.mlp.norm2(layer(hidden, block.mlp.fc2))
    torch.testing.assert_close(block(x), F.relu(x + changed))


@pytest.mark.parametrize(("block", "inside"), [("bottleneck", 24), ("metanext", 4)])
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_residual_downsample_is_a_block_of_the_stage_that_strides(
    block: str, inside: int, depthwise: bool
) -> None:
    downsample = {"kind": "residual", "kernel_size": 3, "padding": 1, "depthwise": depthwise}
    built: Any = random_weights(
        build_downsample(stage(block=block, mlp={"ratio": 4}, downsample=downsample), 4, None)
    )
    x = torch.randn(2, 4, 7, 7)
    assert built.mixer.groups == (inside if depthwise else 1)
    assert built.mixer.in_channels == inside
    before = built.mlp.expand(x) if block == "bottleneck" else x
    strided = built.norm(built.mixer(before))
    after = built.mlp.project(strided) if block == "bottleneck" else built.mlp(strided)
    torch.testing.assert_close(built(x), after + layer(x[..., ::2, ::2], built.shortcut.conv))
    assert built(x).shape == (2, 6, map_size_after(DownsampleSpec(**downsample), 7), 4)


def test_a_stem_pools_behind_its_activation() -> None:
    pool = {"kernel_size": 3, "stride": 2, "padding": 1}
    spec = StemSpec.model_validate(
        {"kernel_size": 3, "stride": 2, "padding": 1, "norm": "batch_norm", "activation": "relu",
         "bias": False, "max_pool": pool}
    )  # fmt: skip
    stem: Any = random_weights(Stem(spec, 3, 8))
    x = torch.randn(1, 3, 32, 30)
    expected = F.max_pool2d(F.relu(stem.norm(stem.conv(x))), 3, 2, 1)
    torch.testing.assert_close(stem(x), expected)
    assert stem.conv.bias is None
    assert spec.reduction == 4
    assert map_size_after(spec, 32) == expected.shape[2]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"block": "metaformer", "activations": "all"}, "got all; allowed: mlp"),
        (
            {"block": "metaformer", "downsample": {"kind": "residual", "kernel_size": 1}},
            "got residual; allowed in metaformer blocks: conv, patch_merging",
        ),
        ({"block": "bottleneck", "residual_scale": 1.0}, "bottleneck has none"),
        (
            {"block": "metanext", "downsample": {"depthwise": True}},
            "belongs to residual; conv changes the number of channels",
        ),
        (
            {"block": "metanext", "downsample": {"kind": "residual"}},
            "got 2; allowed in a residual downsample: odd sizes",
        ),
        (
            {"block": "metanext", "downsample": {"kind": "residual", "kernel_size": 3}},
            "got 0; allowed in a residual downsample with kernels of 3: 1, so that the shortcut",
        ),
    ],
)
def test_parts_that_do_not_go_together_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        stage(**fields)


def test_max_pooling_wider_than_its_padding_allows_is_refused() -> None:
    pool = {"kernel_size": 3, "stride": 2, "padding": 2}
    with pytest.raises(ValidationError, match="got 2; allowed: up to half of kernel_size, 3"):
        StemSpec.model_validate({"kernel_size": 3, "stride": 2, "max_pool": pool})
