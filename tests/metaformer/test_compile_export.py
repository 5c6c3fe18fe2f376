"""Our backbones in torch's graphs: compiled whole, and exported for any batch size.

Sizes differ in numbers only, so each backbone is taken with two blocks in a stage.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metaformer import Backbone, build_backbone, load_spec
from metaformer.spec import BackboneSpec
from mixers import MixerRegistry

QUICK = ("inceptionnext_t", "swin_t_inception")
FAMILIES = (
    "inceptionnext_t", "convnext_t", "swin_t", "convformer_s18", "caformer_s18", "poolformer_s12",
    "poolformerv2_s12", "identityformer_s12", "randformer_s12", "focalnet_t",
    "metanext_attn_s_iso",
)  # fmt: skip
EVERY = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES[1:])]
SIDE = 64


def shallow(name: str, registry: MixerRegistry) -> Backbone:
    spec = load_spec(name, registry)
    stages = tuple(stage.model_copy(update={"depth": min(stage.depth, 2)}) for stage in spec.stages)
    update = {"stages": stages, "drop_path_rate": 0.0, "num_classes": 10}
    torch.manual_seed(0)
    small: BackboneSpec = spec.model_copy(update=update)
    return build_backbone(small, registry, image_size=SIDE)


def images(batch: int) -> Tensor:
    return torch.randn(batch, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("name", EVERY)
def test_it_compiles_whole_and_gives_the_same_logits_and_gradients(
    name: str, registry: MixerRegistry
) -> None:
    torch._dynamo.reset()
    model = shallow(name, registry).train()
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
    model = shallow(name, registry).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    with torch.no_grad():
        exported = torch.export.export(model, (images(2),), dynamic_shapes={"x": {0: batch}})
        for size in (1, 5):
            found = exported.module()(images(size))
            torch.testing.assert_close(found, model(images(size)), atol=1e-4, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_inductor_compiles_it_and_gives_the_same_logits(name: str, registry: MixerRegistry) -> None:
    torch._dynamo.reset()
    model = shallow(name, registry).eval()
    with torch.no_grad():
        found = torch.compile(model, fullgraph=True)(images(2))
        torch.testing.assert_close(found, model(images(2)), atol=1e-4, rtol=1e-3)
