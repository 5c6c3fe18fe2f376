"""The README.md of an export: what the model is, what was measured of it, what it is not."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from metaformer.spec import BackboneSpec, StageSpec
from metaformer.spec_parts import DownsampleSpec
from mixers import MixerRegistry, MixerSpec
from mixers.scan import OWN_DISTRIBUTION
from search.config.study import StudyConfig
from search.data import pixels
from search.devices import GIB
from search.export.selected_trial import Chosen
from search.formatting import interval, speed
from search.storage.records import refutations
from search.study.status import read_summary
from search.training.preprocessing import PREPROCESSING

_SHOWN_CLASSES = 100
_READING_CODE = """\
from typing import Any

import numpy as np
from PIL import Image

GROUND = {ground}


{functions}


def read_image(path: str) -> np.ndarray:
    \"""(1, 3, {size}, {size}) float32.\"""
    with Image.open(path) as image:
        pixels = np.asarray(square(to_rgb(image), {size}), np.float32) / 255
    pixels = (pixels - np.array({mean}, np.float32)) / np.array({std}, np.float32)
    return pixels.transpose(2, 0, 1)[None]
"""
_MEASURED = {
    "train": "throughput, training step",
    "infer": "throughput, forward pass",
    "latency": "latency, forward pass of one image",
}


def model_card(
    chosen: Chosen, loading: str, *, notes: Sequence[str] = (), library: str = ""
) -> str:
    """The card in Markdown, with `loading` as its Python and `notes` next to the figures.

    `library` is what model hubs call the library that loads it, where it is one of theirs.
    """
    record, config = chosen.record, chosen.past.study.config
    sections = [
        _front_matter(library),
        f"# {config.name}, trial {record.number}\n\n"
        f"An image classifier of {chosen.spec.num_classes} classes: the backbone that trial "
        f"{record.number} of the study `{config.name}` tried, found by a search with "
        f"{OWN_DISTRIBUTION} for {_sought(config)}.",
        f"## Loading\n\n```python\n{loading}```\n{_installing(chosen)}",
        f"## Architecture\n\n{_lines(architecture_in_words(chosen.spec, chosen.past.registry))}",
        f"## Figures\n\n{_lines([*_figures(chosen), *notes])}",
        f"## Mixers\n\n{_mixers(chosen)}",
        f"## Preprocessing\n\n{_preprocessing(chosen)}",
        f"## Where it comes from\n\n{_lines(_origin(chosen))}",
        f"## Limits\n\n{_lines(_limits(chosen))}",
    ]
    return "\n\n".join(section.strip("\n") for section in sections) + "\n"


def _sought(config: StudyConfig) -> str:
    """Objective and budget of the study, in words."""
    axes = config.search.axes
    sought = f"the front of {', '.join(axes)}" if axes else "accuracy"
    units = {"train": "images/s at least", "infer": "images/s at least", "latency": "ms at most"}
    said = [
        f"{name} {limit:g} {units.get(name, 'GiB at most' if name == 'memory' else 'at most')}"
        for name, limit in config.budget.given().items()
    ]
    return f"{sought} within a budget ({', '.join(said)})" if said else sought


def architecture_in_words(spec: BackboneSpec, registry: MixerRegistry) -> list[str]:
    """The backbone from image to logits, a line a part."""
    stem = spec.stem
    names = sorted({mixer.name for stage in spec.stages for mixer in stage.mixer})
    fixed = [name for name in names if registry[name].fixed_map_size]
    others = f"no other size, as {', '.join(fixed)} works with their maps only" if fixed else ""
    behind: list[str] = [
        part for part in (stem.norm.kind, stem.activation) if part not in (None, "none")
    ]
    behind += ["max pooling"] if stem.max_pool is not None else []
    lines = [
        f"images of {spec.image_size}×{spec.image_size} pixels, {spec.in_channels} channels; "
        + (others or "other sizes work too"),
        f"stem: convolution {stem.kernel_size}×{stem.kernel_size}, stride {stem.stride}, to "
        f"{spec.stem_width} channels" + "".join(f", {part}" for part in behind),
    ]
    lines += [f"stage {index}: {_stage(stage)}" for index, stage in enumerate(spec.stages)]
    head = spec.head
    position = head.norm_position.replace("_pool", " it")
    norm = "" if head.norm.kind == "none" else f", {head.norm.kind} {position}"
    hidden = f" with {head.ratio:g} times the width hidden" if head.kind == "mlp" else ""
    lines.append(f"head: average pooling{norm}; {head.kind}{hidden}, {spec.num_classes} classes")
    return lines


def _stage(stage: StageSpec) -> str:
    before = "" if stage.downsample is None else f"{_downsample(stage.downsample)}, then "
    mixers = " | ".join(_mixer(mixer) for mixer in stage.mixer)
    return (
        f"{before}{stage.depth} {stage.block} blocks of {stage.width} channels; mixer {mixers}; "
        f"norm {stage.norm.kind}; MLP ratio {stage.mlp.ratio:g}, {stage.mlp.activation}"
    )


def _mixer(mixer: MixerSpec) -> str:
    options = ", ".join(f"{name} {in_words(value)}" for name, value in mixer.options.items())
    return f"{mixer.name} ({options})" if options else mixer.name


def _downsample(step: DownsampleSpec) -> str:
    return f"{step.kind} downsampling by {step.stride}"


def _figures(chosen: Chosen) -> list[str]:
    record, config = chosen.record, chosen.past.study.config
    size = config.measure.image_size
    lines = [
        f"params: {record.params or 0:,}",
        f"MACs: {record.macs or 0:,} for one image of {size}×{size} pixels",
    ]
    lines += [_throughput(measured) for measured in record.measurements]
    lines += [
        f"measured again: {again.state.value}, {again.reason or 'without a reason'}; the study no "
        "longer counts this trial as within its budget"
        for again in refutations(chosen.past.records)
        if again.confirms == record.number
    ]
    if not record.measurements:
        lines.append("throughput: not measured, as the study has no budget of it")
    if record.peak_memory_bytes:
        lines.append(f"memory at the peak of a step: {record.peak_memory_bytes / GIB:.3f} GiB")
    data = chosen.past.study.frozen_data or {}
    epochs = (record.score or {}).get("epochs", config.train.epochs)
    lines.append(
        f"validation accuracy: {chosen.accuracy:.4f} on {data.get('validation', '?')} images of "
        f"{_data(config)} at {config.train.image_size} pixels, epochs {epochs} on "
        f"{data.get('train', '?')} images, seed {config.search.seed}, {config.train.precision}"
    )
    if chosen.retrained:
        lines[-1] += f"; trained again for this export, {record.accuracy or 0:.4f} on record"
    if chosen.test_accuracy is not None:
        test = f"test accuracy: {chosen.test_accuracy:.4f} on {data.get('test', '?')} images, once"
        lines.append(test)
    else:
        lines.append("test accuracy: none reported of these weights")
    return lines


def _throughput(measured: dict[str, Any]) -> str:
    what = _MEASURED[measured["mode"]]
    if measured["images_per_second"] is None:
        return f"{what}: no valid measurement"
    environment = measured["environment"]
    compiled = "compiled" if measured["compile"] else "eager"
    return (
        f"{what}: {speed(measured)}, interval {interval(measured)} at {1 - measured['alpha']:.0%}, "
        f"{measured['verdict'] or 'no budget'}; batch {measured['batch_size']}, "
        f"{measured['image_size']}×{measured['image_size']} pixels, {measured['precision']}, "
        f"{measured['memory_format']}, {compiled}, median of {len(measured['block_seconds'])} "
        f"blocks of {measured['steps_per_block']} steps; {environment.get('device_name', '?')}, "
        f"threads {environment.get('threads', '?')}, torch {environment.get('torch', '?')}"
    )


def _mixers(chosen: Chosen) -> str:
    rows = ["| mixer | distribution | version | origin |", "|---|---|---|---|"]
    rows += [
        f"| {mixer.get('name', '')} | {mixer.get('distribution', '')} | "
        f"{mixer.get('version', '')} | {without_place(str(mixer.get('origin', '')))} |"
        for mixer in chosen.record.mixers
    ]
    return "\n".join(rows)


def _installing(chosen: Chosen) -> str:
    others = sorted(
        {
            f"{mixer['distribution']}=={mixer['version']}"
            for mixer in chosen.record.mixers
            if mixer["distribution"] not in (OWN_DISTRIBUTION, "local")
        }
    )
    lines = [f"\nIts mixers come with `pip install {' '.join(others)}`."] if others else []
    lines += [
        f"\n`{mixer['name']}` is {without_place(mixer['origin'])}, "
        "which a plugins.toml must name in [local]."
        for mixer in chosen.record.mixers
        if mixer["name"].startswith("local/")
    ]
    return "\n".join(lines)


def _preprocessing(chosen: Chosen) -> str:
    said = chosen.preprocessing
    size, names = said["image_size"], said["class_names"]
    shown = ", ".join(f"{place} {json.dumps(name, ensure_ascii=False)}"
                      for place, name in enumerate(names[:_SHOWN_CLASSES]))  # fmt: skip
    more = len(names) - _SHOWN_CLASSES
    return (
        f"RGB images, the square at the centre scaled to {size}×{size} ({said['interpolation']}), "
        f"divided by 255, less the mean {in_words(said['mean'])}, over the deviation "
        f"{in_words(said['std'])}. "
        "preprocessing.json has the same for programs. Files are read by the rules under its "
        f"`reading`, as this Python does:\n\n```python\n{reading_code(size)}```\n\n"
        f"Classes, by the place of their logit: {shown}" + (f" and {more} more" if more > 0 else "")
    )


def reading_code(size: int) -> str:
    """Return the Python that turns an image file into a model's input, without this project."""
    functions = "\n\n".join(
        inspect.getsource(function) for function in (pixels.to_rgb, pixels.integer_range,
                                                     pixels.square)
    )  # fmt: skip
    return _READING_CODE.format(
        ground=pixels.GROUND,
        functions=functions.strip("\n"),
        size=size,
        mean=PREPROCESSING["mean"],
        std=PREPROCESSING["std"],
    )


def _origin(chosen: Chosen) -> list[str]:
    record, config = chosen.record, chosen.past.study.config
    versions = read_summary(chosen.past.folder.path).get("versions") or {}
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    train = {**config.train.model_dump(mode="json"), "data": _data(config)}
    lines = [
        f"study `{config.name}`, trial {record.number}, digest of the backbone {record.digest}",
        f"data: {_data(config)}, fingerprint "
        f"{(chosen.past.study.frozen_data or {}).get('fingerprint', '?')}",
        "training: " + ", ".join(f"{key} {in_words(value)}" for key, value in train.items()),
    ]
    if record.inherited is not None:
        share = record.inherited.get("share", 0.0)
        lines.append(
            f"the training began with weights of trial {record.inherited['trial']} (digest "
            f"{record.inherited['digest']}), {share:.0%} of its own"
        )
    return [*lines, f"versions: {said}"] if said else lines


def in_words(value: Any) -> str:
    """A setting as a reader of the card knows it, without Python's ways of writing it."""
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, dict):
        return "(" + ", ".join(f"{key} {in_words(item)}" for key, item in value.items()) + ")"
    if isinstance(value, list | tuple):
        return ", ".join(in_words(item) for item in value)
    return str(value)


def without_place(origin: str) -> str:
    """Return the origin of a mixer without folders of this machine, which say nothing elsewhere."""
    kind, _, place = origin.partition(" ")
    if kind == "editable":
        return "editable install"
    if kind == "file":
        return f"file {PurePath(place).name}"
    return "local folder" if "file:" in origin else origin


def _data(config: StudyConfig) -> str:
    """The data set's name without the folder that it lies in."""
    kind, colon, place = config.train.data.partition(":")
    if kind == "folder":
        return f"folder:{PurePath(place).name}"
    return f"{kind}{colon}{place.partition('@')[0]}"


def _limits(chosen: Chosen) -> list[str]:
    epochs = chosen.past.study.config.train.epochs
    measured = ["A speed is that of the device and settings above, and of no other."]
    return [
        f"The weights come from a short training (epochs: {epochs}) that ranks candidates: no "
        "finished model. Train the backbone to its end before you rely on it.",
        "The validation split chose among the trials, so its accuracy flatters the best of them.",
        *(measured if chosen.record.measurements else []),
        "The licence of weights follows from the data and is for whoever publishes them to say.",
    ]


def _front_matter(library: str) -> str:
    lines = ["---", "pipeline_tag: image-classification", "tags:", "- image-classification"]
    lines += [f"library_name: {library}"] if library else []
    return "\n".join([*lines, "---"])


def _lines(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
