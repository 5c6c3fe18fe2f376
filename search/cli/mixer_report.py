"""A mixer in full: options, documentation, what it declares, what it costs at a site."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from metaformer.counting import cost_of_mixer
from mixers import MixerEntry, MixerRegistry, MixerSpec, Site
from mixers.class_attributes import documentation
from mixers.third_party_code import ThirdPartyError, call_guarded

DECLARED = (
    "needs_normalised_input",
    "fixed_map_size",
    "supports_dilation",
    "supports_torchscript",
    "supports_fx",
)


def describe_mixer(
    entry: MixerEntry, registry: MixerRegistry, spec: MixerSpec, site: Site
) -> dict[str, Any]:
    """Return what `search mixers show` prints; `cost` is None, with a `refusal`, if the mixer of
    `spec` does not go to `site`."""
    frozen = entry.fingerprint()
    cost, refusal = None, ""
    try:
        with torch.device("meta"):
            mixer = registry.build(spec, site)
        cost = asdict(call_guarded(cost_of_mixer, mixer, site))
    except ThirdPartyError as error:
        words = f"cannot be counted on the meta device: {error}"
        raise entry.fault(words) from error.__cause__
    except ValueError as error:
        refusal = str(error)
    return {
        **{key: frozen[key] for key in ("name", "distribution", "version", "entry_point")},
        "origin": frozen.get("origin", ""),
        "documentation": documentation(entry.mixer_class) or "no documentation",
        "options": frozen["options"],
        "declares": {name: entry.declares(name) for name in DECLARED},
        "requires": list(entry.requires),
        "site": {"channels": site.channels, "height": site.height, "width": site.width},
        "cost": cost,
        "refusal": refusal,
    }
