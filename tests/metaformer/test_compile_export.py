"""Our backbones in torch's graphs: compiled whole, and exported for any batch size.

All of the zoo, one backbone for each structure.
"""

from __future__ import annotations

import pytest
import torch
from small_zoo import SIDE, distinct, shallow
from torch import Tensor

from metaformer import Backbone, build_backbone, published
from mixers import MixerRegistry

DISTINCT = distinct()
QUICK = ("inceptionnext_t", "swin_t_inception")
EVERY = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in DISTINCT]
FAMILIES = list({published(name).family: name for name in reversed(DISTINCT)}.values())


def build(name: str, registry: MixerRegistry) -> Backbone:
    torch.manual_seed(0)
    return build_backbone(shallow(name, registry), registry)


def images(batch: int) -> Tensor:
    return torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("name", EVERY)
def test_it_compiles_whole_and_gives_the_same_logits_and_gradients(
    name: str, registry: MixerRegistry
) -> None:
    torch._dynamo.reset()
    model = build(name, registry).train()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    results = []
    for forward in (model, compiled):
        torch.manual_seed(0)
        model.zero_grad()
        logits = forward(images(2))
        logits.square().sum().backward()
        results.append(
            [logits, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]
        )
    for eager, graph in zip(*results, strict=True):
        torch.testing.assert_close(graph, eager, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", EVERY)
def test_it_exports_for_any_batch_size(name: str, registry: MixerRegistry) -> None:
    model = build(name, registry).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    with torch.no_grad():
        exported = torch.export.export(model, (images(2),), dynamic_shapes={"x": {0: batch}})
        for size in (1, 5):
            found = exported.module()(images(size))
            torch.testing.assert_close(found, model(images(size)), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", EVERY)
def test_channels_last_memory_gives_the_same_logits_and_gradients(
    name: str, registry: MixerRegistry
) -> None:
    """In double precision, where rounding does not decide what a ReLU lets through."""
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model = build(name, registry).train().double().to(memory_format=memory_format)
        logits = model(images(4).double().to(memory_format=memory_format))
        logits.square().mean().backward()
        gradients = [p.grad.contiguous() for p in model.parameters() if p.grad is not None]
        results.append([logits, *gradients])
    for contiguous, channels_last in zip(*results, strict=True):
        torch.testing.assert_close(channels_last, contiguous, atol=1e-8, rtol=1e-6)


def test_what_is_exported_to_infer_keeps_fused_attention_even_with_gradients_on(
    registry: MixerRegistry,
) -> None:
    model = build("swin_t", registry).eval()
    exported = torch.export.export(model, (images(2),))
    called = {str(node.target) for node in exported.graph.nodes}
    assert any("scaled_dot_product_attention" in target for target in called)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_inductor_compiles_it_and_gives_the_same_logits(name: str, registry: MixerRegistry) -> None:
    torch._dynamo.reset()
    model = build(name, registry).eval()
    with torch.no_grad():
        found = torch.compile(model, fullgraph=True)(images(2))
        torch.testing.assert_close(found, model(images(2)), atol=1e-4, rtol=1e-3)
