"""Pooling and classifier. Maps are (B, C, H, W)."""

from __future__ import annotations

import torch
from timm.layers import SelectAdaptivePool2d
from torch import Tensor, nn

from metaformer._layers import ACTIVATIONS, build_norm
from metaformer.errors import Problem, SpecError
from metaformer.spec import HeadSpec
from mixers.initialization import initialise_projections

POOLINGS = ("avg", "max", "avgmax", "")


class Head(nn.Module):
    """(B, C, H, W) -> (B, num_classes): global pooling and the classifier.

    `num_features` is the width in front of the classifier proper. Without classes the output is
    what stands there; without pooling too, the map itself.
    """

    def __init__(
        self,
        spec: HeadSpec,
        channels: int,
        num_classes: int,
        drop_rate: float,
        global_pool: str = "avg",
    ) -> None:
        super().__init__()
        self.spec = spec
        self.channels = channels
        after_pool = spec.norm_position == "after_pool"
        self.norm = build_norm(spec.norm, channels) if after_pool else nn.Identity()
        self.drop = nn.Dropout(drop_rate)
        self.hidden: nn.Module = nn.Identity()
        if spec.kind == "mlp" and spec.pre_logits == "hidden" and global_pool:
            self.hidden = HiddenLayer(spec, channels)
        self._set_pool(global_pool, num_classes)
        self._set_classifier(num_classes)
        initialise_projections(self)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.flatten(self.norm(self.pool(x)))
        if self.hidden_is_classifier:
            x = self.drop(x)
            return x if pre_logits else self.fc(self.hidden(x))
        x = self.drop(self.hidden(x))
        return x if pre_logits else self.fc(x)

    def reset(
        self,
        num_classes: int,
        global_pool: str | None = None,
        reset_other: bool = False,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """A new classifier on `device`; another pooling if one is named (`""` for none).

        `reset_other` takes norm and hidden layer away too.
        """
        if global_pool is not None:
            self._set_pool(global_pool, num_classes)
        if reset_other:
            self.norm = nn.Identity()
        self._restore_hidden(reset_other)
        if reset_other or (global_pool == "" and not self.hidden_is_classifier):
            self.hidden = nn.Identity()
        self._set_classifier(num_classes)
        for part in (self.hidden, self.fc) if self.hidden_is_classifier else (self.fc,):
            initialise_projections(part)
            part.to(device=device, dtype=dtype)
        self.train(self.training)

    def _restore_hidden(self, reset_other: bool) -> None:
        """The hidden layer that went with the pooling comes back with it, its weights new."""
        wanted = self.spec.kind == "mlp" and self.spec.pre_logits == "hidden" and not reset_other
        pooled = not isinstance(self.flatten, nn.Identity)
        if wanted and pooled and isinstance(self.hidden, nn.Identity):
            self.hidden = HiddenLayer(self.spec, self.channels)
            initialise_projections(self.hidden)

    def _set_pool(self, global_pool: str, num_classes: int) -> None:
        if global_pool not in POOLINGS:
            allowed = f"{', '.join(POOLINGS[:-1])}, or empty for none"
            raise SpecError(Problem("global_pool", f"got {global_pool!r}; allowed: {allowed}"))
        if not global_pool and num_classes:
            words = f"got none for {num_classes} classes; allowed without pooling: num_classes 0"
            raise SpecError(Problem("global_pool", words))
        self.pool = SelectAdaptivePool2d(pool_type=global_pool)
        self.flatten = nn.Flatten(1) if global_pool else nn.Identity()

    def _set_classifier(self, num_classes: int) -> None:
        width = self.channels
        self.hidden_is_classifier = self.spec.kind == "mlp" and self.spec.pre_logits == "pooled"
        if self.hidden_is_classifier:
            self.hidden = HiddenLayer(self.spec, width) if num_classes else nn.Identity()
        hidden = self.hidden.width if isinstance(self.hidden, HiddenLayer) else width
        self.num_features = width if self.hidden_is_classifier else hidden
        self.fc = nn.Linear(hidden, num_classes) if num_classes else nn.Identity()


class HiddenLayer(nn.Module):
    """(B, C) -> (B, ratio · C): the hidden layer of an MLP head."""

    def __init__(self, spec: HeadSpec, channels: int) -> None:
        super().__init__()
        self.width = int(spec.ratio * channels)
        self.fc = nn.Linear(channels, self.width)
        self.activation = ACTIVATIONS[spec.activation]()
        self.norm = build_norm(spec.hidden_norm, self.width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.fc(x))
        return self.norm(x[:, :, None, None]).flatten(1)
