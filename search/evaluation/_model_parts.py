"""Named submodules for per-part profiling."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from metaformer.backbone import Backbone
from metaformer.blocks import BottleneckBlock

_NEVER_CALLED = (nn.ModuleList, nn.ModuleDict)


def backbone_parts(model: nn.Module) -> dict[str, nn.Module]:
    """Parts of `model` in its order, outer before inner, each module once.

    Of a backbone: stem, stages, and in these the downsampling, each block's mixer
    (`stages.2.blocks.5 inception_dw`) and MLP; norm and head. A bottleneck's MLP, which has its
    mixer inside, comes as its two layers. Of any other module: children and grandchildren.
    """
    named = _of_backbone(model) if isinstance(model, Backbone) else _of_module(model)
    parts: dict[str, nn.Module] = {}
    seen: set[nn.Module] = {model}
    for name, part in named:
        if part not in seen and not isinstance(part, nn.Identity):
            parts[name] = part
            seen.add(part)
    return parts


def mixer_part_names(model: nn.Module) -> list[str]:
    """Those names of `backbone_parts` that are mixers; none for a module that is no backbone."""
    if not isinstance(model, Backbone):
        return []
    mixers = {block.mixer for stage in model.stages for block in stage.blocks}  # type: ignore[union-attr]
    return [name for name, part in backbone_parts(model).items() if part in mixers]


def _of_backbone(model: Backbone) -> Iterator[tuple[str, nn.Module]]:
    yield "stem", model.stem
    for index, (stage, spec) in enumerate(zip(model.stages, model.spec.stages, strict=False)):
        yield f"stages.{index}", stage
        yield f"stages.{index}.downsample", stage.downsample  # type: ignore[misc]
        for number, (block, mixer) in enumerate(zip(stage.blocks, spec.block_mixers, strict=True)):  # type: ignore[arg-type]
            where = f"stages.{index}.blocks.{number}"
            if isinstance(block, BottleneckBlock):
                yield f"{where} mlp.fc1", block.mlp.fc1
                yield f"{where} {mixer.name}", block.mixer
                yield f"{where} mlp.fc2", block.mlp.fc2
            else:
                yield f"{where} {mixer.name}", block.mixer
                yield f"{where} mlp", block.mlp
    yield "norm", model.norm
    yield "head", model.head


def _of_module(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in _called_children(model, ""):
        yield name, child
        yield from _called_children(child, f"{name}.")


def _called_children(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """Children, and in the place of a list or a map of modules what it holds."""
    for name, child in module.named_children():
        if isinstance(child, _NEVER_CALLED):
            yield from _called_children(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
