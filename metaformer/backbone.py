"""From a spec to a module that timm takes for one of its own.

Annotations are evaluated here: torch.fx copies those of `Backbone.forward` into its graphs, where
their text alone cannot be scripted.
"""

from contextlib import nullcontext
from typing import Any

import torch
from timm.layers import calculate_drop_path_rates, get_device_dtype
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from metaformer.errors import Problem, SpecError
from metaformer.head import Head
from metaformer.layers import Stem, build_norm, map_size_after
from metaformer.spec import MAX_IMAGE_SIZE, BackboneSpec
from metaformer.spec_parts import DownsampleSpec, StemSpec
from metaformer.spec_yaml import resolve_mixers
from metaformer.stage import Stage, StageSite, mixer_sites
from mixers import MixerRegistry, MixerSpec, Site, load_registry
from mixers.class_attributes import undecayed_parameters


def build_backbone(
    spec: BackboneSpec,
    registry: MixerRegistry | None = None,
    *,
    image_size: int | None = None,
    global_pool: str = "avg",
    output_stride: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> "Backbone":
    """The module of `spec`, built for square images of `image_size` pixels (the spec's by default).

    `registry` gives the mixers, the installed ones by default. `global_pool` is one of timm's
    poolings (avg, max, avgmax), or empty for none, which needs no classes. With
    `output_stride`, maps stay at one part in so many of the image, and later stages dilate
    instead. On the meta device nothing is allocated; a model that gets its memory later, by
    `to_empty`, needs its weights loaded, and `init_non_persistent_buffers` of every module that
    has it. SpecError where a mixer is unknown, an option illegal, a mixer does not fit its site or
    cannot dilate, or the image is too small for the stages.
    """
    registry = registry if registry is not None else load_registry()
    spec = resolve_mixers(spec, registry)
    size = spec.image_size if image_size is None else image_size
    with torch.device(device) if device is not None else nullcontext():
        model = Backbone(spec, registry, size, global_pool=global_pool, output_stride=output_stride)
    return model if dtype is None else model.to(dtype)


def map_sizes(spec: BackboneSpec, image_size: int) -> list[int]:
    """The side of each stage's map, in positions; SpecError where one would vanish."""
    return [site.size for site in _stage_sites(spec, image_size, None)]


def mixers_with_sites(spec: BackboneSpec, image_size: int) -> list[tuple[MixerSpec, Site]]:
    """Each block's mixer and the site that it would be built for; nothing is built.

    SpecError if a map would vanish.
    """
    found: list[tuple[MixerSpec, Site]] = []
    sites = _stage_sites(spec, image_size, None)
    for stage, site, rates in zip(spec.stages, sites, _drop_path_rates(spec), strict=True):
        own = rates[stage.num_blocks - stage.depth :]
        found += zip(stage.block_mixers, mixer_sites(stage, site, own), strict=True)
    return found


def _drop_path_rates(spec: BackboneSpec) -> list[list[float]]:
    """Rates of stochastic depth by stage, one for each block, a residual downsample included."""
    depths = [stage.num_blocks for stage in spec.stages]
    rates: list[list[float]] = calculate_drop_path_rates(
        spec.drop_path_rate, depths, stagewise=True
    )
    return rates


def _stage_sites(spec: BackboneSpec, image_size: int, output_stride: int | None) -> list[StageSite]:
    """Where each stage stands: size of its map, reduction of the image, dilation."""
    sites: list[StageSite] = []
    _require_reachable(spec, output_stride)
    size = _shrunk(spec, "stem", spec.stem, image_size, image_size)
    reduction, dilation, first_block = spec.stem.reduction, 1, 0
    network_depth = sum(stage.depth for stage in spec.stages)
    for index, stage in enumerate(spec.stages):
        step, keeps_size = stage.downsample, False
        if step is not None:
            keeps_size = (
                output_stride is not None and step.stride > 1 and reduction >= output_stride
            )
            if keeps_size:
                dilation *= step.stride
            else:
                size = _shrunk(spec, f"stages[{index}].downsample", step, size, image_size)
                reduction *= step.stride
        sites.append(
            StageSite(index, size, reduction, dilation, keeps_size, first_block, network_depth)
        )
        first_block += stage.depth
    return sites


def _require_reachable(spec: BackboneSpec, output_stride: int | None) -> None:
    """SpecError where no map of the backbone is so many times smaller than the image."""
    reductions = [spec.stem.reduction]
    for stage in spec.stages:
        reductions.append(reductions[-1] * (stage.downsample.stride if stage.downsample else 1))
    if output_stride is not None and output_stride not in reductions:
        allowed = ", ".join(str(reduction) for reduction in sorted(set(reductions)))
        raise SpecError(Problem("output_stride", f"got {output_stride}; allowed: {allowed}"))


def _shrunk(
    spec: BackboneSpec, where: str, step: StemSpec | DownsampleSpec, size: int, image_size: int
) -> int:
    """The side of the map after `step`; SpecError, with the sizes that work, where none is left."""
    after = map_size_after(step, size)
    if after >= 1:
        return after
    smallest = smallest_image_size(spec)
    allowed = f"{smallest} pixels or more"
    if smallest is None:
        allowed = f"no image of up to {MAX_IMAGE_SIZE} pixels"
    words = f"leaves nothing of a map of {size}×{size}, for images of {image_size} pixels"
    raise SpecError(Problem(where, f"{words}; allowed: {allowed}"))


def smallest_image_size(spec: BackboneSpec) -> int | None:
    """The side of the smallest images that leave every stage a map; None where all vanish."""
    steps: list[StemSpec | DownsampleSpec] = [spec.stem]
    steps += [stage.downsample for stage in spec.stages if stage.downsample is not None]

    def works(size: int) -> bool:
        for step in steps:
            size = map_size_after(step, size)
            if size < 1:
                return False
        return True

    return next((size for size in range(1, MAX_IMAGE_SIZE + 1) if works(size)), None)


class Backbone(nn.Module):
    """Stem, stages and head: (B, in_channels, H, W) -> (B, num_classes).

    Attributes and methods are those that timm expects of a model. `feature_info` lists channels,
    reduction and module of each stage's output. `image_size` is what it was built for; other
    sizes work too, but where `fixed_size_mixers` names mixers.
    """

    def __init__(
        self,
        spec: BackboneSpec,
        registry: MixerRegistry,
        image_size: int,
        *,
        global_pool: str = "avg",
        output_stride: int | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.image_size = image_size
        self.in_chans = spec.in_channels
        self.num_classes = spec.num_classes
        names = {mixer.name for stage in spec.stages for mixer in stage.block_mixers}
        self.fixed_size_mixers = [name for name in sorted(names) if registry[name].fixed_map_size]
        self.has_fixed_size = bool(self.fixed_size_mixers)
        self.size_words = (
            f"built for images of {image_size}×{image_size} pixels, and "
            f"{', '.join(self.fixed_size_mixers)} works with their maps only; "
            "build it with another image_size for others"
        )
        rates = _drop_path_rates(spec)
        self.stem = Stem(spec.stem, spec.in_channels, spec.stem_width)
        self.stages = nn.Sequential()
        self.feature_info: list[dict[str, Any]] = []
        width = spec.stem_width
        sites = _stage_sites(spec, image_size, output_stride)
        for site, stage, drop_path_rates in zip(sites, spec.stages, rates, strict=True):
            self.stages.append(Stage(stage, width, site, registry, drop_path_rates))
            width = stage.width
            info = {"num_chs": width, "reduction": site.reduction, "module": f"stages.{site.index}"}
            self.feature_info.append(info)
        before_pool = spec.head.norm_position == "before_pool"
        self.norm = build_norm(spec.head.norm, width) if before_pool else nn.Identity()
        self.num_features = width
        self.head = Head(spec.head, width, spec.num_classes, spec.drop_rate, global_pool)
        self.head_hidden_size = self.head.num_features

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, C, H', W'): the last stage's map."""
        self._check_size(x)
        return self.norm(self.stages(self.stem(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, C, H', W') -> (B, num_classes), or what the classifier sees with `pre_logits`."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def _check_size(self, x: Tensor) -> None:
        """AssertionError, the kind that scripts and graphs keep, for images of another size."""
        if self.has_fixed_size:
            torch._assert(x.shape[2] == self.image_size, self.size_words)
            torch._assert(x.shape[3] == self.image_size, self.size_words)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """The last map and the maps of the stages of `indices` (the last n for an integer).

        `norm` applies the final norm, where there is one before pooling, to the last stage's map
        among them; `stop_early` leaves out the stages after the last one asked for.
        """
        assert output_fmt == "NCHW", "output_fmt: allowed: NCHW"
        taken, last = feature_take_indices(len(self.stages), indices)
        self._check_size(x)
        x = self.stem(x)
        intermediates = []
        stages = self.stages[: last + 1] if stop_early else self.stages
        for index, stage in enumerate(stages):
            x = stage(x)
            is_end = index == len(self.stages) - 1
            if index in taken:
                intermediates.append(self.norm(x) if norm and is_end else x)
        if intermediates_only:
            return intermediates
        return (self.norm(x) if len(stages) == len(self.stages) else x), intermediates

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Takes away what stands after the stages of `indices`; returns these as kept."""
        taken, last = feature_take_indices(len(self.stages), indices)
        shortened = last < len(self.stages) - 1
        if prune_norm or shortened:
            self.norm = nn.Identity()
        self.stages = self.stages[: last + 1]
        if shortened:
            self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
            self.head.channels = self.num_features
        if prune_head or shortened:
            self.reset_classifier(0, "", reset_other=True)
        return list(taken)

    def get_classifier(self) -> nn.Module:
        return self.head.fc

    def reset_classifier(
        self, num_classes: int, global_pool: str | None = None, reset_other: bool = False
    ) -> None:
        """A new classifier of `num_classes` (0 for none); another pooling where one is named."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool, reset_other, **get_device_dtype(self))
        self.head_hidden_size = self.head.num_features if not reset_other else self.num_features

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether a training step computes stages again in its backward pass, to save memory."""
        for stage in self.stages:
            assert isinstance(stage, Stage)
            stage.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns by which timm groups parameters by depth, for layer-wise learning rates."""
        residual = [s for s, stage in enumerate(self.spec.stages) if stage.num_blocks > stage.depth]
        own_depth = "|".join(str(stage) for stage in residual) or "none"
        # a residual downsample is a block itself, before the stage's others
        fine = [
            (rf"^stages\.({own_depth})\.downsample", (-1,)),
            (r"^stages\.(\d+)\.downsample", (0,)),
            (r"^stages\.(\d+)\.blocks\.(\d+)", None),
            (r"^norm", (99999,)),
        ]
        return {"stem": r"^stem", "blocks": r"^stages\.(\d+)" if coarse else fine}

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that optimizers should not decay: those that the mixers declare.

        Biases and parameters of one dimension are left to the optimizer's own rule, as in timm.

        Raises:
            PluginError: A mixer's declaration raises, or names what is no parameter of it.
        """
        names: set[str] = set()
        for index, (stage, spec) in enumerate(zip(self.stages, self.spec.stages, strict=False)):
            assert isinstance(stage, Stage)
            for block, (part, mixer) in enumerate(
                zip(stage.blocks, spec.block_mixers, strict=True)
            ):
                assert isinstance(part.mixer, nn.Module)
                prefix = f"stages.{index}.blocks.{block}.mixer"
                declared = undecayed_parameters(part.mixer, f"{mixer.name} in {prefix}")
                names.update(f"{prefix}.{name}" for name in declared)
        return names
