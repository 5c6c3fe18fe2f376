"""From a spec to a module that timm takes for one of its own.

Annotations are evaluated here: torch.fx copies those of `Backbone.forward` into its graphs, where
their text alone cannot be scripted.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from timm.layers import get_device_dtype
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from metaformer._head import Head
from metaformer._layers import Stem, build_norm
from metaformer._stage import Stage
from metaformer.sites import drop_path_rates, stage_sites
from metaformer.spec import BackboneSpec, mixer_path
from metaformer.spec_yaml import load_spec, placing, resolve_mixers
from mixers import MixerFault, MixerRegistry, load_registry
from mixers.class_attributes import undecayed_parameters


def build_backbone(
    spec: BackboneSpec | str | Path,
    registry: MixerRegistry | None = None,
    *,
    image_size: int | None = None,
    global_pool: str = "avg",
    output_stride: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> "Backbone":
    """The module of `spec`, built for square images of `image_size` pixels (the spec's by default).

    `spec` is a spec, a YAML file, or the name of a known backbone.
    `registry` gives the mixers, the installed ones by default. `global_pool` is one of timm's
    poolings (avg, max, avgmax), or empty for none, which needs no classes. With
    `output_stride`, maps stay at one part in so many of the image, and later stages dilate
    instead. On the meta device nothing is allocated; a model that gets its memory later, by
    `to_empty`, needs its weights loaded, and `init_non_persistent_buffers` of every module that
    has it. SpecError if a mixer is unknown, an option illegal, a mixer does not fit its site or
    cannot dilate, or the image is too small for the stages; MixerFault if a mixer's own code is
    at fault.
    """
    registry = registry if registry is not None else load_registry()
    if not isinstance(spec, BackboneSpec):
        with placing(str(spec)):
            return build_backbone(
                load_spec(spec, registry),
                registry,
                image_size=image_size,
                global_pool=global_pool,
                output_stride=output_stride,
                device=device,
                dtype=dtype,
            )
    spec = resolve_mixers(spec, registry)
    size = spec.image_size if image_size is None else image_size
    with torch.device(device) if device is not None else nullcontext():
        try:
            model = Backbone(
                spec, registry, size, global_pool=global_pool, output_stride=output_stride
            )
        except MixerFault as fault:  # of a class attribute, if it has no path
            path = fault.path or _first_use(spec, fault.mixer)
            raise MixerFault(fault.mixer, fault.message, path=path) from fault.__cause__
    return model if dtype is None else model.to(dtype)


def _first_use(spec: BackboneSpec, mixer: str) -> str:
    """The path of the first place if a backbone names that mixer."""
    return next(
        mixer_path(index, place, stage)
        for index, stage in enumerate(spec.stages)
        for place, written in enumerate(stage.mixer)
        if written.name == mixer
    )


class Backbone(nn.Module):
    """Stem, stages and head: (B, in_channels, H, W) -> (B, num_classes).

    Attributes and methods are those that timm expects of a model. `feature_info` lists channels,
    reduction and module of each stage's output. `image_size` is what it was built for; other
    sizes work too, but if `fixed_size_mixers` names mixers.
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
        rates = drop_path_rates(spec)
        self.stem = Stem(spec.stem, spec.in_channels, spec.stem_width)
        self.stages = nn.Sequential()
        self.feature_info: list[dict[str, Any]] = []
        width = spec.stem_width
        sites = stage_sites(spec, image_size, output_stride)
        for site, stage, own_rates in zip(sites, spec.stages, rates, strict=True):
            self.stages.append(Stage(stage, width, site, registry, own_rates))
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

        `norm` applies the final norm, if there is one before pooling, to the last stage's map
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
        """A new classifier of `num_classes` (0 for none); another pooling if one is named."""
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool, reset_other, **get_device_dtype(self))
        self.head_hidden_size = self.head.num_features if not reset_other else self.num_features

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Return whether a training step computes stages again in its backward pass, to save
        memory."""
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
