"""The two block forms. Maps are (B, C, H, W)."""

from __future__ import annotations

from timm.layers import DropPath, LayerScale2d
from torch import Tensor, nn

from metaformer.layers import ChannelMlp, build_norm
from metaformer.spec import StageSpec


def _scale(initial: float | None, channels: int) -> nn.Module:
    return nn.Identity() if initial is None else LayerScale2d(channels, init_values=initial)


def _drop_path(rate: float) -> nn.Module:
    return DropPath(rate) if rate > 0 else nn.Identity()


class MetaNeXtBlock(nn.Module):
    """x + drop_path(scale · mlp(norm(mixer(x)))): one residual, the norm after the mixer.

    (InceptionNeXt, section 3: MetaNeXt.)
    """

    def __init__(self, spec: StageSpec, mixer: nn.Module, drop_path_rate: float) -> None:
        super().__init__()
        self.mixer = mixer
        self.norm = build_norm(spec.norm, spec.width)
        self.mlp = ChannelMlp(spec.mlp, spec.width)
        self.layer_scale = _scale(spec.layer_scale, spec.width)
        self.drop_path = _drop_path(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop_path(self.layer_scale(self.mlp(self.norm(self.mixer(x))))) + x


class MetaFormerBlock(nn.Module):
    """Two residuals, each shortcut·x + drop_path(scale · f(norm(x))): the mixer, then the MLP.

    (MetaFormer Baselines, eq. 2 and 3; Swin's block is this one.)
    """

    def __init__(self, spec: StageSpec, mixer: nn.Module, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = build_norm(spec.norm, spec.width)
        self.mixer = mixer
        self.layer_scale1 = _scale(spec.layer_scale, spec.width)
        self.residual_scale1 = _scale(spec.residual_scale, spec.width)
        self.norm2 = build_norm(spec.norm, spec.width)
        self.mlp = ChannelMlp(spec.mlp, spec.width)
        self.layer_scale2 = _scale(spec.layer_scale, spec.width)
        self.residual_scale2 = _scale(spec.residual_scale, spec.width)
        self.drop_path = _drop_path(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.drop_path(self.layer_scale1(self.mixer(self.norm1(x))))
        x = self.residual_scale1(x) + mixed
        changed = self.drop_path(self.layer_scale2(self.mlp(self.norm2(x))))
        return self.residual_scale2(x) + changed


BLOCKS: dict[str, type[MetaNeXtBlock] | type[MetaFormerBlock]] = {
    "metanext": MetaNeXtBlock,
    "metaformer": MetaFormerBlock,
}
