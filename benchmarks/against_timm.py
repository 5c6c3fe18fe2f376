"""Our backbones next to timm's: forward and training step, both memory formats; or building them.

    python benchmarks/against_timm.py --image-size 128 --batch-size 4 --pairs 25 --out FILE
    python benchmarks/against_timm.py --building --all --pairs 15 --out FILE

With `--building` what is timed is `timm.create_model` on the meta device, our YAML file and its
validation included.

Both models hold the same weights and see the same images. Each pair of timings runs in the order
ours, timm's, timm's, ours, and gives one ratio timm's / ours: above 1 ours is faster. The interval
is that of the median over the pairs, by bootstrap at 95 %.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import timm
import torch
from provenance import provenance
from torch import Tensor, nn
from torch.nn import functional as F

from metaformer import TIMM_PREFIX, build_backbone, from_timm, load_spec, zoo_table

ONE_A_FAMILY = (
    "inceptionnext_t",
    "convnext_t",
    "resnet50",
    "convformer_s18",
    "caformer_s18",
    "poolformer_s12",
    "poolformerv2_s12",
    "swin_t",
    "focalnet_t",
)
PAIRS = {  # every backbone whose published weights timm has
    entry.name: entry.published.weights.partition(".")[0]
    for entry in zoo_table()
    if entry.published.weights is not None
}
Comparison: TypeAlias = tuple[dict[str, str], Callable[[], None], Callable[[], None]]
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    rows = []
    for name in PAIRS if arguments.all else arguments.only or ONE_A_FAMILY:
        steps = building(name) if arguments.building else running(name, arguments, device)
        for labels, ours, theirs in steps:
            ratios, seconds = interleaved(ours, theirs, arguments.pairs, device)
            low, high = bootstrap(ratios)
            figures = {"ratio": statistics.median(ratios), "low": low, "high": high}
            rows.append(
                {
                    "model": name,
                    **labels,
                    **{key: round(value, 4) for key, value in figures.items()},
                    "seconds_ours": round(seconds, 5),
                }
            )
            print(*rows[-1].values(), flush=True)
    mean = math.exp(statistics.fmean(math.log(row["ratio"]) for row in rows))
    print(f"geometric mean {mean:.4f}")
    if arguments.out is not None:
        sizes = {"image_size": arguments.image_size, "batch_size": arguments.batch_size}
        settings = {"pairs": arguments.pairs, **({} if arguments.building else sizes)}
        result = {"provenance": provenance(), "settings": settings, "rows": rows}
        result["geometric_mean"] = round(mean, 4)
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="*", choices=list(PAIRS))
    parser.add_argument("--building", action="store_true", help="build, on the meta device")
    parser.add_argument("--all", action="store_true", help="every pair, not one a family")
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def building(name: str) -> Iterator[Comparison]:
    def create(model: str) -> Callable[[], None]:
        def step() -> None:
            with torch.device("meta"):
                timm.create_model(model)

        return step

    yield {"mode": "build"}, create(TIMM_PREFIX + name), create(PAIRS[name])


def running(name: str, arguments: argparse.Namespace, device: torch.device) -> Iterator[Comparison]:
    for format_name, memory_format in FORMATS.items():
        models = both(name, arguments.image_size, device, memory_format)
        images = torch.randn(arguments.batch_size, 3, *[arguments.image_size] * 2)
        images = images.to(device, memory_format=memory_format)
        for mode, make in (("forward", forward), ("train", training_step)):
            ours, theirs = (make(model, images) for model in models)
            yield {"memory_format": format_name, "mode": mode}, ours, theirs


def both(
    name: str, image_size: int, device: torch.device, memory_format: torch.memory_format
) -> tuple[nn.Module, nn.Module]:
    """Ours and timm's with the same weights, on the device and in the format."""
    size = {"img_size": image_size} if name.startswith("swin") else {}
    theirs = timm.create_model(PAIRS[name], drop_path_rate=0.0, **size)
    spec = load_spec(name).model_copy(update={"drop_path_rate": 0.0})
    ours = build_backbone(spec, image_size=image_size)
    ours.load_state_dict(from_timm(theirs.state_dict(), ours))
    return tuple(m.to(device, memory_format=memory_format) for m in (ours, theirs))  # type: ignore[return-value]


def forward(model: nn.Module, images: Tensor) -> Callable[[], None]:
    def step() -> None:
        model.eval()
        with torch.inference_mode():
            model(images)

    return step


def training_step(model: nn.Module, images: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    targets = torch.arange(len(images), device=images.device)

    def step() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(images), targets).backward()
        optimizer.step()

    return step


def interleaved(
    ours: Callable[[], None], theirs: Callable[[], None], pairs: int, device: torch.device
) -> tuple[list[float], float]:
    """Ratios timm's / ours, one a pair, and our median seconds."""
    for step in (ours, theirs, ours, theirs):
        timed(step, device)
    ratios, seconds = [], []
    for _ in range(pairs):
        first, second, third, fourth = (timed(s, device) for s in (ours, theirs, theirs, ours))
        ratios.append((second + third) / (first + fourth))
        seconds += [first, fourth]
    return ratios, statistics.median(seconds)


def timed(step: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def bootstrap(values: list[float], draws: int = 4000) -> tuple[float, float]:
    generator = random.Random(0)
    medians = sorted(
        statistics.median(generator.choices(values, k=len(values))) for _ in range(draws)
    )
    return medians[int(0.025 * draws)], medians[int(0.975 * draws)]


if __name__ == "__main__":
    main()
