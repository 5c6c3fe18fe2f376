"""From a spec to a module."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace

import torch
from timm.layers import calculate_drop_path_rates
from torch import Tensor, nn

from metaformer.blocks import BLOCKS
from metaformer.errors import Problem, SpecError
from metaformer.layers import Head, Stem, build_downsample, build_norm, downsampled_size
from metaformer.spec import BackboneSpec, StageSpec
from metaformer.spec_yaml import resolve_mixers
from mixers import MixerRegistry, Site, load_registry


def build_backbone(
    spec: BackboneSpec,
    registry: MixerRegistry | None = None,
    *,
    image_size: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Backbone:
    """The module of `spec`, built for square images of `image_size` pixels (the spec's by default).

    `registry` gives the mixers, the installed ones by default. On the meta device nothing is
    allocated. SpecError where a mixer is unknown, an option illegal, a mixer does not fit its
    site, or the image is too small for the stages.
    """
    registry = registry if registry is not None else load_registry()
    spec = resolve_mixers(spec, registry)
    with torch.device(device) if device is not None else nullcontext():
        model = Backbone(spec, registry, image_size or spec.image_size)
    return model if dtype is None else model.to(dtype)


def map_sizes(spec: BackboneSpec, image_size: int) -> list[int]:
    """The side of each stage's map, in positions; SpecError where one would vanish."""
    sizes: list[int] = []
    size = downsampled_size(spec.stem, image_size)
    for index, stage in enumerate(spec.stages):
        if stage.downsample is not None:
            size = downsampled_size(stage.downsample, size)
        if size < 1:
            words = f"got {image_size}; stage {index} would have no positions left"
            raise SpecError(Problem("image_size", words))
        sizes.append(size)
    return sizes


class Backbone(nn.Module):
    """Stem, stages and head: (B, in_channels, H, W) -> (B, num_classes).

    `feature_info` lists channels, reduction and module of each stage's output, as timm does.
    """

    def __init__(self, spec: BackboneSpec, registry: MixerRegistry, image_size: int) -> None:
        super().__init__()
        self.spec = spec
        self.image_size = image_size
        self.in_chans = spec.in_channels
        self.num_classes = spec.num_classes
        depths = [stage.depth for stage in spec.stages]
        drop_path_rates = calculate_drop_path_rates(spec.drop_path_rate, depths, stagewise=True)
        self.stem = Stem(spec.stem, spec.in_channels, spec.stages[0].width)
        self.stages = nn.Sequential()
        self.feature_info: list[dict[str, object]] = []
        width, reduction = spec.stages[0].width, spec.stem.stride
        for index, (stage, size) in enumerate(
            zip(spec.stages, map_sizes(spec, image_size), strict=True)
        ):
            site = Site(channels=stage.width, height=size, width=size, stage=index)
            self.stages.append(Stage(stage, width, site, registry, drop_path_rates[index]))
            width = stage.width
            reduction *= stage.downsample.stride if stage.downsample is not None else 1
            self.feature_info.append(
                {"num_chs": width, "reduction": reduction, "module": f"stages.{index}"}
            )
        before_pool = spec.head.norm_position == "before_pool"
        self.norm = build_norm(spec.head.norm, width) if before_pool else nn.Identity()
        self.num_features = width
        self.head = Head(spec.head, width, spec.num_classes, spec.drop_rate)
        self.head_hidden_size = self.head.num_features

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, C, H', W'): the last stage's map."""
        return self.norm(self.stages(self.stem(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, C, H', W') -> (B, num_classes), or what the classifier sees with `pre_logits`."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


class Stage(nn.Module):
    """(B, C, H, W) -> (B, width, H', W'): downsampling, then the blocks."""

    def __init__(
        self,
        spec: StageSpec,
        in_channels: int,
        site: Site,
        registry: MixerRegistry,
        drop_path_rates: list[float],
    ) -> None:
        super().__init__()
        self.downsample = build_downsample(spec.downsample, in_channels, spec.width)
        self.blocks = nn.Sequential()
        seen: Counter[str] = Counter()
        for block, (mixer_spec, rate) in enumerate(
            zip(spec.block_mixers, drop_path_rates, strict=True)
        ):
            here = replace(site, block=block, occurrence=seen[mixer_spec.name])
            seen[mixer_spec.name] += 1
            try:
                mixer = registry.build(mixer_spec, here)
            except ValueError as error:
                where = f"stages[{site.stage}].mixer"
                words = f"block {block}: {mixer_spec.name}: {error}"
                raise SpecError(Problem(where, words)) from error
            self.blocks.append(BLOCKS[spec.block](spec, mixer, rate))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))
