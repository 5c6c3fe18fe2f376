"""Backbones inside what timm and torch wrap them in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from timm.models import FeatureListNet
from torch import Tensor, nn

from metaformer.backbone import Backbone
from metaformer.spec import BackboneSpec

_WRAPPED = ("_orig_mod", "module", "model")  # by torch.compile, data parallelism, timm's features


class FeaturesOfBackbone:
    """timm's `features_only` form of a backbone under the backbone's own names of parameters."""

    def __init__(self, features: FeatureListNet) -> None:
        self.spec: BackboneSpec = features.spec
        self._features = features

    def parameters(self) -> Iterator[nn.Parameter]:
        return self._features.parameters()

    def state_dict(self) -> dict[str, Tensor]:
        return {_own_name(key): value for key, value in self._features.state_dict().items()}

    def get_submodule(self, name: str) -> nn.Module:
        return self._features.get_submodule(_feature_name(name))

    def load_state_dict(self, state_dict: Mapping[str, Tensor], *, strict: bool) -> None:
        renamed = {_feature_name(key): value for key, value in state_dict.items()}
        self._features.load_state_dict(renamed, strict=strict)


def _own_name(key: str) -> str:
    return re.sub(r"^stages_(\d+)\.", r"stages.\1.", key)


def _feature_name(key: str) -> str:
    return re.sub(r"^stages\.(\d+)\.", r"stages_\1.", key)


def backbone_in(model: nn.Module) -> Backbone | FeaturesOfBackbone:
    """The backbone of a model that timm or torch has wrapped; ValueError if there is none."""
    inner: Any = model
    while not isinstance(inner, Backbone):
        if isinstance(inner, FeatureListNet) and hasattr(inner, "spec"):
            return FeaturesOfBackbone(inner)
        parts = (getattr(inner, name, None) for name in _WRAPPED)
        inner = next((part for part in parts if isinstance(part, nn.Module)), None)
        if inner is None:
            raise ValueError(
                f"load_pretrained: got {type(model).__name__}; allowed: a backbone of "
                "build_backbone or of timm.create_model('mf_...'), with features_only or without"
            )
    return inner
