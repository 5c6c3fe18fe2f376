"""Sites of stages and of mixers in a backbone, from its spec alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from timm.layers import calculate_drop_path_rates

from metaformer._layers import map_size_after
from metaformer.errors import Problem, SpecError
from metaformer.spec import MAX_IMAGE_SIZE, BackboneSpec, StageSpec
from metaformer.spec_parts import DownsampleSpec, StemSpec
from mixers import MixerSpec, Site


@dataclass(frozen=True, slots=True)
class StageSite:
    """Position of a stage: side of its map, reduction of the image, dilation.

    `keeps_size` says that its downsampling gives up its stride for the sake of dilation.
    `first_block` is the number of blocks in the stages before it, `network_depth` that in all.
    """

    index: int
    size: int
    reduction: int
    dilation: int
    keeps_size: bool
    first_block: int
    network_depth: int


def mixer_sites(spec: StageSpec, site: StageSite, drop_path_rates: Sequence[float]) -> list[Site]:
    """The site of the mixer of each block of a stage; one rate of stochastic depth for each."""
    sites: list[Site] = []
    seen: Counter[str] = Counter()
    for block, (mixer, rate) in enumerate(zip(spec.block_mixers, drop_path_rates, strict=True)):
        sites.append(
            Site(
                channels=spec.mixer_width,
                height=site.size,
                width=site.size,
                stage=site.index,
                block=block,
                occurrence=seen[mixer.name],
                dilation=site.dilation,
                drop_path=rate,
                stage_depth=spec.depth,
                network_block=site.first_block + block,
                network_depth=site.network_depth,
            )
        )
        seen[mixer.name] += 1
    return sites


def map_sizes(spec: BackboneSpec, image_size: int) -> list[int]:
    """The side of each stage's map, in positions; SpecError if one would vanish."""
    return [site.size for site in stage_sites(spec, image_size, None)]


def mixers_with_sites(spec: BackboneSpec, image_size: int) -> list[tuple[MixerSpec, Site]]:
    """Each block's mixer and the site that it would be built for; nothing is built.

    SpecError if a map would vanish.
    """
    found: list[tuple[MixerSpec, Site]] = []
    sites = stage_sites(spec, image_size, None)
    for stage, site, rates in zip(spec.stages, sites, drop_path_rates(spec), strict=True):
        own = rates[stage.num_blocks - stage.depth :]
        found += zip(stage.block_mixers, mixer_sites(stage, site, own), strict=True)
    return found


def drop_path_rates(spec: BackboneSpec) -> list[list[float]]:
    """Rates of stochastic depth by stage, one for each block, a residual downsample included."""
    depths = [stage.num_blocks for stage in spec.stages]
    rates: list[list[float]] = calculate_drop_path_rates(
        spec.drop_path_rate, depths, stagewise=True
    )
    return rates


def stage_sites(spec: BackboneSpec, image_size: int, output_stride: int | None) -> list[StageSite]:
    """Return the position of each stage: size of its map, reduction of the image, dilation."""
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
    """SpecError if no map of the backbone is so many times smaller than the image."""
    reductions = [spec.stem.reduction]
    for stage in spec.stages:
        reductions.append(reductions[-1] * (stage.downsample.stride if stage.downsample else 1))
    if output_stride is not None and output_stride not in reductions:
        allowed = ", ".join(str(reduction) for reduction in sorted(set(reductions)))
        raise SpecError(Problem("output_stride", f"got {output_stride}; allowed: {allowed}"))


def _shrunk(
    spec: BackboneSpec, where: str, step: StemSpec | DownsampleSpec, size: int, image_size: int
) -> int:
    """The side of the map after `step`; SpecError, with the sizes that work, if none is left."""
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
    """The side of the smallest images that leave every stage a map; None if all vanish."""
    steps: list[StemSpec | DownsampleSpec] = [spec.stem]
    steps += [stage.downsample for stage in spec.stages if stage.downsample is not None]

    def works(size: int) -> bool:
        for step in steps:
            size = map_size_after(step, size)
            if size < 1:
                return False
        return True

    return next((size for size in range(1, MAX_IMAGE_SIZE + 1) if works(size)), None)
