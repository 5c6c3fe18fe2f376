"""Blocks of one width at one resolution. Maps are (B, C, H, W)."""

from __future__ import annotations

from timm.models import checkpoint_seq
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]  # torch does export it

from metaformer.blocks import BLOCKS, build_downsample
from metaformer.errors import Problem, SpecError
from metaformer.sites import StageSite, mixer_sites
from metaformer.spec import StageSpec, mixer_path
from mixers import (
    MixerFault,
    MixerRegistry,
    MixerSpec,
    Site,
)
from mixers.third_party_code import one_line


class Stage(nn.Module):
    """(B, C, H, W) -> (B, width, H', W'): downsampling, then the blocks."""

    def __init__(
        self,
        spec: StageSpec,
        in_channels: int,
        site: StageSite,
        registry: MixerRegistry,
        drop_path_rates: list[float],
    ) -> None:
        super().__init__()
        self.grad_checkpointing = False
        _require_dilation(spec, site, registry)
        # as timm does: the convolution itself dilates only from the second traded stride on
        own = (1 if site.dilation <= 2 else 2) if site.keeps_size else None
        residual = spec.downsample is not None and spec.downsample.kind == "residual"
        first_rate, *drop_path_rates = drop_path_rates if residual else [0.0, *drop_path_rates]
        self.downsample = build_downsample(spec, in_channels, own, first_rate)
        self.downsample_is_block = residual
        self.blocks = nn.Sequential()
        for mixer, place, rate in zip(
            spec.block_mixers,
            mixer_sites(spec, site, drop_path_rates),
            drop_path_rates,
            strict=True,
        ):
            path = mixer_path(site.index, place.block % len(spec.mixer), spec)
            built = _build_mixer(mixer, place, registry, path)
            self.blocks.append(BLOCKS[spec.block](spec, built, rate))

    def forward(self, x: Tensor) -> Tensor:
        if self.grad_checkpointing and not is_scripting():
            if self.downsample_is_block:
                return checkpoint_seq([self.downsample, *self.blocks], x)
            return checkpoint_seq(self.blocks, self.downsample(x))
        return self.blocks(self.downsample(x))


def _build_mixer(mixer: MixerSpec, site: Site, registry: MixerRegistry, path: str) -> nn.Module:
    try:
        return registry.build(mixer, site)
    except MixerFault as fault:
        raise MixerFault(fault.mixer, fault.message, path=path) from fault.__cause__
    except ValueError as error:
        words = f"block {site.block}: {mixer.name}: {one_line(str(error))}"
        raise SpecError(Problem(path, words, mixer=mixer.name)) from error


def _require_dilation(spec: StageSpec, site: StageSite, registry: MixerRegistry) -> None:
    where = f"stages[{site.index}]"
    merging = spec.downsample is not None and spec.downsample.kind == "patch_merging"
    if merging and site.keeps_size:
        words = "patch_merging cannot give up its stride for a smaller output_stride"
        raise SpecError(Problem(f"{where}.downsample", words))
    rigid = sorted({m.name for m in spec.block_mixers if not registry[m.name].supports_dilation})
    if rigid and site.dilation > 1:
        words = f"{', '.join(rigid)} cannot dilate, which a smaller output_stride needs"
        raise SpecError(Problem(f"{where}.mixer", words))
