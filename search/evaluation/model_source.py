"""Models that can be measured: our backbones, timm's and torchvision's models, the best of a study.

SPEC                 a YAML file or a name of the zoo
timm:NAME            timm's model of that name, without weights
torchvision:NAME     torchvision's
RUN-FOLDER           the best.yaml of a study, under the study's own measure settings
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from metaformer.backbone import build_backbone
from metaformer.mixer_faults import mixer_faults
from metaformer.spec import BackboneSpec
from metaformer.spec_yaml import load_spec, placing
from metaformer.yaml_tree import read_yaml
from mixers import MixerRegistry
from mixers.errors import did_you_mean, nearest_names, nearest_path
from search.devices import is_out_of_memory
from search.errors import UsageError
from search.evaluation.device_requirements import require_device_for
from search.evaluation.model_names import library_model, require_spec, unknown_model


@dataclass(frozen=True)
class ModelSource:
    """One model to measure, or to train. `build(image_size, device)` makes it again; `digest` is
    equal for equal networks; `mixers` say where its mixers came from; `settings` are the study's,
    of a run folder. What the model's mixers raise under `faults` becomes a MixerFault.
    """

    name: str
    digest: str
    image_size: int
    in_channels: int
    build: Callable[[int, torch.device | str], nn.Module]
    spec: BackboneSpec | None = None
    mixers: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    faults: Callable[[], AbstractContextManager[None]] = nullcontext


def read_model_source(
    source: str,
    registry: MixerRegistry,
    *,
    num_classes: int | None = None,
    image_size: int | None = None,
) -> ModelSource:
    """The model that `source` names, with its own number of classes and image size if none are
    said; UsageError or SpecError if there is none."""
    require_spec(source)
    model = library_model(source)
    if model is not None:
        library, name = model
        return (_of_timm if library == "timm" else _of_torchvision)(name, num_classes)
    fields = {"num_classes": num_classes, "image_size": image_size}
    said = {key: value for key, value in fields.items() if value is not None}
    if Path(source).is_dir():
        return _of_run_folder(Path(source), registry, said)
    return _of_file(source, registry, said)


def model_source_of(spec: BackboneSpec, registry: MixerRegistry, **more: Any) -> ModelSource:
    """The backbone of `spec`; `build` raises SpecError if it cannot be built, and
    EnvironmentProblem if a mixer requires another device."""

    def build(image_size: int, device: torch.device | str) -> nn.Module:
        require_device_for(spec, registry, torch.device(device))
        return build_backbone(spec, registry, image_size=image_size, device=device)

    names = sorted({mixer.name for stage in spec.stages for mixer in stage.block_mixers})
    fields: dict[str, Any] = {
        "name": spec.name,
        "digest": spec.digest,
        "image_size": spec.image_size,
        "in_channels": spec.in_channels,
        "build": build,
        "faults": partial(mixer_faults, registry, spec, leave=is_out_of_memory),
        "spec": spec,
        "mixers": [registry[name].fingerprint() for name in names],
    }
    return ModelSource(**{**fields, **more})


def _of_file(
    source: str, registry: MixerRegistry, said: dict[str, int], **more: Any
) -> ModelSource:
    """The backbone of a file or a zoo name, some fields as `said`, its problems placed there."""
    network = model_source_of(load_spec(source, registry).model_copy(update=said), registry, **more)

    def build(image_size: int, device: torch.device | str) -> nn.Module:
        with placing(source):
            return network.build(image_size, device)

    @contextmanager
    def faults() -> Iterator[None]:
        with placing(source), network.faults():
            yield

    return replace(network, build=build, faults=faults)


def _of_run_folder(folder: Path, registry: MixerRegistry, said: dict[str, int]) -> ModelSource:
    best = folder / "best.yaml"
    if not best.is_file():
        inside = nearest_path(best) if folder.is_dir() else None
        words = "no best.yaml; allowed: the folder of a study that has found a backbone"
        raise UsageError(f"{folder}: {words}{did_you_mean(inside)}")
    study = folder / "study.yaml"
    settings = read_yaml(study).plain().get("measure", {}) if study.is_file() else {}
    return _of_file(str(best), registry, said, settings=settings)


def _of_timm(name: str, num_classes: int | None) -> ModelSource:
    import timm

    import_module("metaformer.timm_models")  # registers ours with timm
    architecture, dot, tag = name.partition(".")
    if not timm.is_model(architecture):
        raise unknown_model("timm", name)
    tags = [one.partition(".")[2] for one in timm.list_pretrained(f"{architecture}.*")]
    if dot and tag not in tags:
        raise UsageError(f"timm:{name}: {_unknown_tag(architecture, tag, tags)}")
    size = timm.get_pretrained_cfg(name)
    channels, height = size.input_size[:2] if size is not None else (3, 224)
    said = {} if num_classes is None else {"num_classes": num_classes}

    def build(image_size: int, device: torch.device | str) -> nn.Module:
        with torch.device(device):
            try:
                return timm.create_model(name, img_size=image_size, **said)
            except TypeError:  # a model that takes any size
                return timm.create_model(name, **said)

    digest = _digest("timm", timm.__version__, name, *map(str, said.values()))
    return ModelSource(f"timm:{name}", digest, height, channels, build)


def _unknown_tag(architecture: str, tag: str, tags: Sequence[str]) -> str:
    if not tags:
        return f"{architecture} has no pretrained tags; allowed: timm:{architecture}"
    close = did_you_mean(*(f"timm:{architecture}.{one}" for one in nearest_names(tag, tags)))
    return f"{architecture} has no tag {tag!r}; allowed: none, {', '.join(tags)}{close}"


def _of_torchvision(name: str, num_classes: int | None) -> ModelSource:
    import torchvision
    from torchvision import models

    if name not in models.list_models(module=models):
        raise unknown_model("torchvision", name)

    said = {} if num_classes is None else {"num_classes": num_classes}

    def build(image_size: int, device: torch.device | str) -> nn.Module:
        with torch.device(device):
            return models.get_model(name, weights=None, **said)

    digest = _digest("torchvision", torchvision.__version__, name, *map(str, said.values()))
    return ModelSource(f"torchvision:{name}", digest, 224, 3, build)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
