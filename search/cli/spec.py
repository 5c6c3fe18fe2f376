"""`search spec`: what a backbone is, stage by stage."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from search.cli.errors import user_errors
from search.cli.output import echo
from search.cli.plugins import command_registry

if TYPE_CHECKING:
    from metaformer.backbone import Backbone
    from metaformer.counting import BackboneCost
    from metaformer.spec import BackboneSpec
    from mixers import MixerRegistry


@click.command()
@click.argument("source", metavar="SPEC")
@click.option(
    "--image-size",
    type=click.IntRange(4, 8192),
    help="Image size in pixels.  [default: the spec's]",
)
@click.option(
    "--plugins", type=click.Path(), help="plugins.toml to use.  [default: ./plugins.toml]"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def spec(source: str, image_size: int | None, plugins: str | None, as_json: bool) -> None:
    """Validate SPEC, a YAML file or a known backbone, and print it resolved, stage by stage."""
    with user_errors():
        from metaformer.errors import SpecError
        from metaformer.spec_yaml import load_spec, placing
        from search.errors import UsageError
        from search.evaluation.model_names import require_spec

        registry = command_registry(plugins)
        require_spec(source)
        backbone = load_spec(source, registry)

        from metaformer.backbone import build_backbone
        from metaformer.counting import cost_of
        from metaformer.mixer_faults import mixer_faults

        with placing(source):
            try:
                with mixer_faults(registry, backbone):
                    model = build_backbone(backbone, registry, image_size=image_size, device="meta")
                    _refuse_what_does_not_fit(backbone, model)
                    cost = cost_of(model)
            except SpecError as error:
                if image_size is not None and _can_be_built(backbone, registry):
                    raise UsageError(f"--image-size: got {image_size}; {error}") from None
                raise
        description = _describe(backbone, model, cost)
        echo(json.dumps(description, indent=2)) if as_json else _print(description)


def _can_be_built(spec: BackboneSpec, registry: MixerRegistry) -> bool:
    """Return whether the backbone stands and fits this machine at its own image size."""
    from metaformer.backbone import build_backbone
    from metaformer.errors import SpecError

    try:
        _refuse_what_does_not_fit(spec, build_backbone(spec, registry, device="meta"))
    except SpecError:
        return False
    return True


def _refuse_what_does_not_fit(spec: BackboneSpec, model: Backbone) -> None:
    """SpecError at the largest part if weights and buffers exceed this machine's memory."""
    import torch

    from metaformer.counting import stored_bytes
    from metaformer.errors import Problem, SpecError
    from search.devices import device_memory_bytes, gigabytes

    needed, available = stored_bytes(model), device_memory_bytes(torch.device("cpu"))
    if needed <= available:
        return
    parts = {f"stages[{index}]": stored_bytes(stage) for index, stage in enumerate(model.stages)}
    parts |= {"stem": stored_bytes(model.stem), "head": stored_bytes(model.head)}
    largest = max(parts, key=lambda part: parts[part])
    words = (
        f"its weights and tables take {gigabytes(parts[largest])}, all of the backbone "
        f"{gigabytes(needed)}; this machine has {gigabytes(available)}"
    )
    raise SpecError(Problem(largest, words))


def _describe(spec: BackboneSpec, model: Backbone, cost: BackboneCost) -> dict[str, Any]:
    from metaformer.sites import map_sizes

    stages = []
    sizes = map_sizes(spec, cost.image_size)
    for stage, part, size in zip(spec.stages, cost.stages, sizes, strict=True):
        stages.append(
            {
                "shape": [stage.width, size, size],
                "depth": stage.depth,
                "block": stage.block,
                "mixer": [
                    {"name": mixer.name, "options": mixer.options}
                    for mixer in stage.mixer[: stage.depth]
                ],
                "params": part.params,
                "macs": part.macs,
            }
        )
    return {
        "name": spec.name,
        "digest": spec.digest,
        "image_size": cost.image_size,
        "num_classes": spec.num_classes,
        "params": cost.total.params,
        "macs": cost.total.macs,
        "stem": {"params": cost.stem.params, "macs": cost.stem.macs},
        "stages": stages,
        "head": {"params": cost.head.params, "macs": cost.head.macs},
        "spec": spec.to_data(),
    }


def _print(description: dict[str, Any]) -> None:
    echo(f"{description['name']} at {description['image_size']} pixels")
    echo(f"{'':28}{'params':>15}{'MACs':>15}")
    _print_part("stem", description["stem"])
    for index, stage in enumerate(description["stages"]):
        _print_part(f"stage {index}   {'×'.join(str(side) for side in stage['shape'])}", stage)
        plural = "s" if stage["depth"] > 1 else ""
        echo(f"  {stage['depth']} {stage['block']} block{plural}")
        for mixer in stage["mixer"]:
            options = ", ".join(f"{key}={value}" for key, value in mixer["options"].items())
            echo(f"    {mixer['name']}({options})")
    _print_part(f"head      {description['num_classes']}", description["head"])
    _print_part("all", description)
    echo(f"digest {description['digest']}")


def _print_part(name: str, part: dict[str, Any]) -> None:
    echo(f"{name:28}{part['params']:>15,}{part['macs'] / 1e6:>13,.2f} M")
