"""Parameters, MACs and memory before anything is allocated, on the meta device.

A MAC is one multiplication with its addition; convolutions, matrix products, those inside
attention included, and Fourier transforms count, norms and activations do not; a mixer may state
more by its method `macs`. fvcore, with which published tables are
made, counts norms as well and needs real tensors: `fvcore_macs` is for comparing with those.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from metaformer.backbone import Backbone, build_backbone
from metaformer.errors import Problem, SpecError
from metaformer.mixer_faults import checked_outputs, mixer_faults
from metaformer.spec import BackboneSpec
from mixers import MixerRegistry, Site, load_registry
from mixers.macs import autocast_on_meta, macs_by_module


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters, and MACs for one image."""

    params: int
    macs: int


@dataclass(frozen=True, slots=True)
class BackboneCost:
    """The cost of a backbone and of its parts; `map_sizes` are the stages' output sizes."""

    total: Cost
    stem: Cost
    stages: tuple[Cost, ...]
    head: Cost
    image_size: int


def count_macs(model: nn.Module, image_size: int, *, in_channels: int = 3) -> int:
    """MACs of `model`, on whatever device it lies, for one image of `image_size` pixels."""
    return _macs(model, image_size, in_channels)[""]


def count_params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def stored_bytes(model: nn.Module) -> int:
    """Bytes of the parameters and buffers of `model`, tables and masks included."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def count_backbone(
    spec: BackboneSpec, registry: MixerRegistry | None = None, *, image_size: int | None = None
) -> BackboneCost:
    """The cost of `spec` at `image_size` (the spec's by default); allocates nothing."""
    registry = registry if registry is not None else load_registry()
    model = build_backbone(spec, registry, image_size=image_size, device="meta")
    with mixer_faults(registry, spec):
        return cost_of(model)


def cost_of(model: Backbone) -> BackboneCost:
    """The cost of a built backbone at the size that it was built for."""
    macs = _macs(model, model.image_size, model.in_chans)

    def cost(part: nn.Module, name: str) -> Cost:
        return Cost(count_params(part), macs.get(name, 0))

    return BackboneCost(
        total=cost(model, ""),
        stem=cost(model.stem, "stem"),
        stages=tuple(cost(stage, f"stages.{index}") for index, stage in enumerate(model.stages)),
        head=Cost(count_params(model.head) + count_params(model.norm), macs.get("head", 0)),
        image_size=model.image_size,
    )


def cost_of_mixer(mixer: nn.Module, site: Site) -> Cost:
    """The cost of a mixer, built on the meta device, for one image at its site."""
    images = torch.empty(1, site.channels, site.height, site.width, device="meta")
    return Cost(count_params(mixer), macs_by_module(mixer.eval(), images)[""])


def _macs(model: nn.Module, image_size: int, in_channels: int) -> dict[str, int]:
    """MACs by module name; the whole model's under the empty name.

    SpecError if the maps have more positions than torch can address.
    """
    modes = [(module, module.training) for module in model.modules()]
    device = next(model.parameters()).device
    images = torch.empty(1, in_channels, image_size, image_size, device=device)
    model.eval()
    try:
        with checked_outputs(model):
            return macs_by_module(model, images)
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        words = f"got {image_size}; the maps have more positions than torch can address"
        raise SpecError(Problem("image_size", words)) from None
    finally:
        for module, training in modes:
            module.training = training


def fvcore_macs(model: nn.Module, image_size: int, *, in_channels: int = 3) -> dict[str, int]:
    """fvcore's count for one image by operator: conv, linear, matmul, and norms as well.

    Traces the model with a real image, so the model must not lie on the meta device. Fused
    attention, which fvcore does not know, counts as the two products inside it.
    """
    from fvcore.nn import FlopCountAnalysis  # slow to import, and of use for comparisons only

    images = torch.zeros(1, in_channels, image_size, image_size)
    modes = [(module, module.training) for module in model.modules()]
    analysis = FlopCountAnalysis(model.eval(), images)
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_macs)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counts = {name: int(count) for name, count in analysis.by_operator().items()}
    for module, training in modes:
        module.training = training
    return counts


def _attention_macs(inputs: Sequence[Any], outputs: Sequence[Any]) -> Counter[str]:
    """query · keyᵀ and weights · value, from their shapes (..., tokens, width)."""
    *batch, queries, width = inputs[0].type().sizes()
    keys, value_width = inputs[2].type().sizes()[-2:]
    return Counter(matmul=math.prod(batch) * queries * keys * (width + value_width))


def inference_bytes(
    model: nn.Module,
    image_size: int,
    batch_size: int,
    *,
    in_channels: int = 3,
    half_precision: bool = False,
) -> int:
    """Bytes that a forward pass of a model on the meta device needs at the least.

    Weights and buffers in float32, and the largest input and output that a module without parts
    holds at the same time, half of them with `half_precision`.
    """
    largest = 0

    def watch(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal largest
        tensors = [t for t in (*inputs, output) if isinstance(t, torch.Tensor)]
        storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
        largest = max(largest, sum(storages.values()))

    handles = [
        module.register_forward_hook(watch)
        for module in model.modules()
        if not any(True for _ in module.children())
    ]
    images = torch.empty(batch_size, in_channels, image_size, image_size, device="meta")
    try:
        with autocast_on_meta(), torch.inference_mode():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return stored_bytes(model) + largest // (2 if half_precision else 1)


def training_bytes(
    model: nn.Module,
    image_size: int,
    batch_size: int,
    *,
    in_channels: int = 3,
    half_precision: bool = False,
) -> int:
    """Bytes that a training step of a model on the meta device needs at the least.

    At the end of the forward pass: weights, buffers and AdamW's two moments in float32, and what
    autograd keeps, half of it with `half_precision`. Gradients and kernels' workspaces come on
    top, while what autograd keeps is given back.
    """
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes()
        return tensor

    images = torch.empty(batch_size, in_channels, image_size, image_size, device="meta")
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    with autocast_on_meta(), saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model(images)
    activations = sum(size for key, size in kept.items() if key not in weights)
    del outputs  # until here it kept the storages alive, and so their keys apart
    kept_always = stored_bytes(model) + 2 * 4 * count_params(model)
    return kept_always + activations // (2 if half_precision else 1)
