"""The space of a study, in which `mixer: any` leaves out what the study has no use for.

That are mixers that require another device, and mixers that allow no site of the space
(docs/decisions/0024-contract.md).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch

from metaformer.errors import SpecError
from metaformer.sites import mixers_with_sites
from metaformer.yaml_tree import Node
from mixers import Choice, Domain, MixerEntry, MixerRegistry, OptionValue, PluginError
from search.config.study import StudyConfig
from search.space.buildability import PROBES, draw
from search.space.search_space import SearchSpace


def image_sizes(config: StudyConfig) -> dict[str, int]:
    """Pixels at which a study builds its candidates, by the setting that asks for them."""
    return {
        "train.image_size": config.train.image_size,
        "measure.image_size": config.measure.image_size,
    }


def open_space(
    tree: Node,
    registry: MixerRegistry,
    config: StudyConfig,
    device: torch.device,
    *,
    any_mixers: list[str] | None,
    fields: dict[str, Any],
    check: Callable[[], None] = lambda: None,
) -> SearchSpace:
    """The space of a study, in which `any` leaves out what its device and its sizes rule out.

    `any_mixers` are those that the study began with, if it has begun; none of them is left out.
    """
    reasons: dict[str, str] = {}

    def leave_out(entry: MixerEntry) -> str | None:
        return reasons.get(entry.name) or entry.unmet_requirement(device.type)

    def make() -> SearchSpace:
        return SearchSpace(
            tree, registry, any_mixers=any_mixers, fields=fields, check=check, leave_out=leave_out
        )

    space = make()
    if any_mixers is None:
        for name in sorted(space.any_names):
            if registry[name].has_allows:
                check()
                reason = _never_allowed(name, space, registry, image_sizes(config))
                if reason is not None:
                    reasons[name] = reason
    return make() if reasons else space


def _never_allowed(
    name: str, space: SearchSpace, registry: MixerRegistry, sizes: Mapping[str, int]
) -> str | None:
    """Why a mixer is of no use in `space`; None if it allows a site in a candidate drawn.

    Candidates are drawn with this mixer wherever it may stand, and not built.
    """
    generator = random.Random(0)
    reasons: Counter[str] = Counter()

    def choose(parameter: str, domain: Domain) -> OptionValue:
        if parameter.endswith(".mixer") and isinstance(domain, Choice) and name in domain.values:
            return name
        return draw(domain, generator)

    for _ in range(PROBES):
        try:
            spec = space.backbone(choose)
            for size in sizes.values():
                for mixer, site in mixers_with_sites(spec, size):
                    if mixer.name == name:
                        reason = registry.disallowed(mixer, site)
                        if reason is None:
                            return None
                        reasons[reason] += 1
        except SpecError:  # values that do not go together, whatever the mixer
            continue
        except PluginError as error:
            return str(error)
    if not reasons:
        return None
    entry, commonest = registry[name], reasons.most_common(1)[0][0]
    label = f"{entry.name} of {entry.distribution} {entry.version}"
    return f"{label} allows no site in {PROBES} candidates drawn; most often: {commonest}"
