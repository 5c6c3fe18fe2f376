"""The zoo's backbones with depths and widths cut down, one for each structure.

Of backbones that then are alike one is taken: what differs in size alone needs no test of its own.
"""

from __future__ import annotations

from metaformer import load_spec, zoo_table
from metaformer.spec import BackboneSpec
from mixers import MixerRegistry, installed_mixers

SIDE = 64  # pixels of the images
NARROW = (64, 128)  # channels of the stages before the last, and of the last


def shallow(name: str, registry: MixerRegistry) -> BackboneSpec:
    """The backbone with no more blocks than its patterns need, two at the least, and narrower."""
    data = load_spec(name, registry).to_data()
    for stage in data["stages"]:
        pattern = stage["mixer"] if isinstance(stage["mixer"], list) else []
        stage["depth"] = min(stage["depth"], max(2, len(pattern)))
        stage["width"] = NARROW[stage["width"] == data["stages"][-1]["width"]]
    data |= {"name": "shallow", "drop_path_rate": 0.0, "num_classes": 10, "image_size": SIDE}
    if data["stem"]["width"] is not None:
        data["stem"]["width"] = NARROW[0]
    return BackboneSpec.model_validate(data)


def distinct() -> list[str]:
    """One backbone of the zoo for each that differs from the others in more than size."""
    registry = installed_mixers()
    found: dict[str, str] = {}
    for name in [entry.name for entry in zoo_table()]:
        found.setdefault(shallow(name, registry).digest, name)
    return list(found.values())
