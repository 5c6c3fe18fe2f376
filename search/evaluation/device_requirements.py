"""Refusal of backbones whose mixers require another type of device than they are to run on."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from metaformer.spec import BackboneSpec
from mixers import MixerRegistry
from search.errors import EnvironmentProblem


def require_device_for(spec: BackboneSpec, registry: MixerRegistry, device: torch.device) -> None:
    """EnvironmentProblem if a mixer of `spec` requires another type of device."""
    for index, stage in enumerate(spec.stages):
        require_device_for_mixers(
            {mixer.name for mixer in stage.block_mixers}, registry, device, f"stages[{index}].mixer"
        )


def require_device_for_mixers(
    names: Iterable[str], registry: MixerRegistry, device: torch.device, where: str
) -> None:
    """EnvironmentProblem, which begins with `where`, if one of the mixers requires another type."""
    for name in sorted(names):
        problem = registry[name].unmet_requirement(device.type)
        if problem is not None:
            raise EnvironmentProblem(f"{where}: {problem}; use such a device, or another mixer")
