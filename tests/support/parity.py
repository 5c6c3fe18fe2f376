"""What the parity tests share: the pairs, random weights that hide nothing, a comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import timm
import torch
from timm.models.inception_next import InceptionDWConv2d
from torch import Tensor, nn

from metaformer import published, zoo_names

PAIRS = {  # one for each of timm's families
    "inceptionnext_t": "inception_next_tiny",
    "convnext_t": "convnext_tiny",
    "resnet50": "resnet50",
    "convformer_s18": "convformer_s18",
    "caformer_s18": "caformer_s18",
    "poolformer_s12": "poolformer_s12",
    "poolformerv2_s12": "poolformerv2_s12",
    "swin_t": "swin_tiny_patch4_window7_224",
    "focalnet_t": "focalnet_tiny_lrf",
}
QUICK_PAIRS = ("inceptionnext_t", "convformer_s18", "swin_t", "focalnet_t")
EACH_PAIR = [name if name in QUICK_PAIRS else pytest.param(name, marks=pytest.mark.slow)
             for name in PAIRS]  # fmt: skip
OTHER_PAIRS = {
    name: reference
    for name in zoo_names()
    if (reference := published(name).timm) is not None and name not in PAIRS
}
SETTINGS = {  # what timm's model needs to be told to be the zoo's
    "convnext_t_k5": {"kernel_sizes": 5},
    "convnext_t_k3": {"kernel_sizes": 3},
    "inceptionnext_t_band7": {"token_mixers": partial(InceptionDWConv2d, band_kernel_size=7)},
    "inceptionnext_t_band9": {"token_mixers": partial(InceptionDWConv2d, band_kernel_size=9)},
    "inceptionnext_t_band13": {"token_mixers": partial(InceptionDWConv2d, band_kernel_size=13)},
    "inceptionnext_t_ratio_1_4": {"token_mixers": partial(InceptionDWConv2d, branch_ratio=0.25)},
    "inceptionnext_t_ratio_1_16": {"token_mixers": partial(InceptionDWConv2d, branch_ratio=0.0625)},
}


def timm_model(zoo_name: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    name = {**PAIRS, **OTHER_PAIRS}[zoo_name]
    settings = {**SETTINGS.get(zoo_name, {}), **settings}
    model = timm.create_model(name, drop_path_rate=0.0, **settings)
    randomise(model)
    return model


def stages_of(model: nn.Module) -> nn.Module:
    """The stages of timm's model, under whatever name it has them."""
    for name in ("layers", "stages"):
        if hasattr(model, name):
            return model.get_submodule(name)
    return nn.ModuleList(model.get_submodule(f"layer{number}") for number in (1, 2, 3, 4))


def randomise(model: nn.Module) -> None:
    """Random values for all that a freshly built model keeps at 0, 1 or 1e-6.

    Layer scales, norm weights and residual scales come near 1, BatchNorm's running statistics
    and position tables leave their initial values, so that no part hides behind another.
    """
    generator = torch.Generator().manual_seed(1)

    def normal(tensor: Tensor, mean: float, deviation: float) -> None:
        tensor.copy_(mean + deviation * torch.randn(tensor.shape, generator=generator))

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "relative_position" in name:
                normal(parameter, 0.0, 2.0)
            elif parameter.ndim >= 2:
                # attention that is far from uniform, so that windows and masks matter
                gain = 3.0 if "qkv" in name else 1.0
                normal(parameter, 0.0, gain * parameter[0].numel() ** -0.5)
            elif name.endswith(("weight", "gamma", "scale")):
                normal(parameter, 1.0, 0.2)
            else:
                normal(parameter, 0.0, 0.5)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                normal(buffer, 0.0, 0.3)
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))


@dataclass
class Observed:
    """What a model did with one batch: all float64-comparable tensors by name."""

    logits: Tensor
    stages: list[Tensor]
    gradients: dict[str, Tensor]
    image_gradient: Tensor


def observe(model: nn.Module, stages: nn.Module, images: Tensor) -> Observed:
    """Logits, stage outputs as (B, C, H, W), and gradients of a fixed function of the logits."""
    outputs: list[Tensor] = []
    hooks = [
        stage.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
        for stage in stages.children()
    ]
    images = images.clone().requires_grad_()
    model.eval()
    logits = model(images)
    weights = torch.linspace(-1, 1, logits.numel()).reshape(logits.shape)
    (logits * weights).sum().backward()
    for hook in hooks:
        hook.remove()
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    assert images.grad is not None
    return Observed(logits.detach(), [x.detach() for x in outputs], gradients, images.grad)


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference over the largest absolute value."""
    scale = theirs.abs().max().item()
    return (ours - theirs).abs().max().item() / max(scale, 1e-12)


def largest_difference(
    ours: Observed, theirs: Observed, rename: Callable[[str], str]
) -> dict[str, float]:
    """By what was compared: the largest relative difference between the two observations."""
    stages = []
    for our_stage, their_stage in zip(ours.stages, theirs.stages, strict=True):
        if our_stage.shape != their_stage.shape:  # timm's Swin hands on (B, H, W, C)
            their_stage = their_stage.permute(0, 3, 1, 2)
        stages.append(relative_difference(our_stage, their_stage))
    renamed = {rename(name): gradient for name, gradient in theirs.gradients.items()}
    assert renamed.keys() == ours.gradients.keys()
    gradients = [
        relative_difference(gradient, renamed[name].reshape(gradient.shape))
        for name, gradient in ours.gradients.items()
    ]
    return {
        "logits": relative_difference(ours.logits, theirs.logits),
        "stages": max(stages),
        "gradients": max(gradients),
        "image gradient": relative_difference(ours.image_gradient, theirs.image_gradient),
    }
