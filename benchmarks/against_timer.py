"""Our engine next to torch's own timer and next to a mean of 40 steps.

    python benchmarks/against_timer.py medians --out FILE
    python benchmarks/against_timer.py spread --out FILE

`medians`: the same models and the same step, measured by `search.throughput.measure` and by
`torch.utils.benchmark.Timer` in turns, timer, engine, timer, engine, ... Each measurement of the
engine gives one ratio of median seconds, to the geometric mean of the timer's before and after it,
so that a steady drift of the machine is in neither; one next to which others computed is taken
again. The figure is the median of the ratios, with the interval of order statistics at 95 %.

`spread`: each repeat is a fresh process that measures one model by the engine, as `search` does
(`Measurer.until_clear`), and by the mean of 40 steps after 10, as timm's benchmark.py does. The
engine is asked twice: for a figure (no budget, an interval within 1 % or the cap) and whether a
budget far away is made, where it stops at the first look it may. Half of the repeats run next to as
many processes that compute in bursts as there are CPUs. Spread is that of log(images/s) over the
repeats; the ratio is engine / mean, over the repeats in which the engine had a valid sample, with a
bootstrap interval at 95 % that draws whole repeats.

With `--out` the part is put into FILE next to the other one that is there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from co_tenant import bursts
from provenance import provenance
from scipy.stats import binom
from spread_ratios import FIXED, summary
from torch import nn
from torch.utils.benchmark import Timer

from metaformer import build_backbone
from mixers import MixerRegistry, load_registry
from search.config.load import load_study
from search.evaluation.measurer import Measurer
from search.evaluation.model_source import read_model_source
from search.space.buildability import draw
from search.space.search_space import SearchSpace
from search.throughput import Measurement, MeasurementProtocol, device_lease, measure
from search.throughput.workload import make_step, precision_of

MODELS = ("inceptionnext_atto", "convnext_t", "poolformer_s12", "timm:resnet18")
CANDIDATE = "default space"  # a network drawn from it
REPEATED = "poolformer_s12"  # what the spread is taken of
GOAL = 0.02
FAR_BUDGET = 1.0  # images/s
WARM_UP_STEPS, FIXED_STEPS = 10, 40
FEWEST_FOR_RANKS = 6  # with five, the whole range holds the median with less than 95 %
METHODS = (FIXED, "engine", "engine, far budget")


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    if arguments.part == "one-repeat":
        print(json.dumps(one_repeat(arguments)))
        return
    before = round(os.getloadavg()[0], 2)  # who else computed when it began; later it is our own
    part = {"medians": medians, "spread": spread}[arguments.part](arguments)
    if arguments.out is not None:
        kept = json.loads(arguments.out.read_text()) if arguments.out.is_file() else {}
        name = f"{arguments.part} {arguments.only or ''}".strip()
        kept[name] = {"provenance": provenance(), "load_average_before": before, **part}
        arguments.out.write_text(json.dumps(kept, indent=1) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["medians", "spread", "one-repeat"])
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument(
        "--max-seconds", type=float, help="the engine's cap [default: 0.4, spread 6]"
    )
    parser.add_argument("--pairs", type=int, default=60, help="of each model and mode, for medians")
    parser.add_argument("--repeats", type=int, default=30, help="idle, and as many busy")
    parser.add_argument("--only", choices=["idle", "busy"], help="one half of the spread")
    parser.add_argument("--number", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.max_seconds is None:
        arguments.max_seconds = 0.4 if arguments.part == "medians" else 6.0
    return arguments


def medians(arguments: argparse.Namespace) -> dict[str, Any]:
    rows = []
    for name, build in models(arguments.image_size):
        for mode in ("train", "infer"):
            protocol = protocol_of(arguments, mode)
            rows.append({"model": name, "mode": mode, **compared(build, protocol, arguments)})
            print(*list(rows[-1].values())[:-1], flush=True)
    within = sum(abs(row["ratio"] - 1) <= GOAL for row in rows)
    print(f"within {GOAL:.0%}: {within} of {len(rows)}")
    names = ("image_size", "batch_size", "max_seconds", "pairs")
    settings = {name: getattr(arguments, name) for name in names}
    return {"settings": settings, "rows": rows, "within": within, "of": len(rows)}


def protocol_of(arguments: argparse.Namespace, mode: str) -> MeasurementProtocol:
    return MeasurementProtocol(
        mode="train" if mode == "train" else "infer",
        image_size=arguments.image_size,
        batch_size=arguments.batch_size,
        memory_format="channels_last",
        max_seconds=arguments.max_seconds,
    )


def models(image_size: int) -> Iterator[tuple[str, Callable[[], nn.Module]]]:
    registry = load_registry()
    for name in MODELS:
        yield name, builder(name, image_size, registry)
    study = load_study(
        None, {"budget": {"train": 1.0}, "measure": {"image_size": image_size}}, device="cpu"
    )
    fields = {"name": "drawn", "num_classes": 10, "image_size": image_size}
    generator = random.Random(0)
    space = SearchSpace(study.space, registry, fields=fields)
    spec = space.backbone(lambda _name, domain: draw(domain, generator))
    yield CANDIDATE, lambda: build_backbone(spec, registry)


def builder(name: str, image_size: int, registry: MixerRegistry) -> Callable[[], nn.Module]:
    network = read_model_source(name, registry)
    return lambda: network.build(image_size, "cpu")


def compared(
    build: Callable[[], nn.Module], protocol: MeasurementProtocol, arguments: argparse.Namespace
) -> dict[str, Any]:
    """The ratio of median seconds engine / timer; nan where others never left the device."""
    model = build().to(arguments.device)
    ratios: list[float] = []
    by_the_timer: list[float] = []
    tried = 0
    with device_lease(arguments.device, wait_seconds=math.inf):
        before = by_timer(model, protocol, arguments.device)
        while len(ratios) < arguments.pairs and tried < 2 * arguments.pairs:
            seconds = by_engine(model, protocol, arguments.device)
            after = by_timer(model, protocol, arguments.device)
            tried += 1
            if math.isfinite(seconds):
                ratios.append(seconds / math.sqrt(before * after))
                by_the_timer.append(after)
            before = after
    found: dict[str, Any] = {"ratio": math.nan, "low": math.nan, "high": math.nan}
    if len(ratios) >= FEWEST_FOR_RANKS:
        found = dict(zip(found, median_and_interval(ratios), strict=True))
        found["seconds_by_timer"] = float(f"{statistics.median(by_the_timer):.4g}")
    contaminated = tried - len(ratios)
    single = [round(ratio, 4) for ratio in ratios]
    return {**found, "pairs": len(ratios), "contaminated_pairs": contaminated, "ratios": single}


def by_engine(model: nn.Module, protocol: MeasurementProtocol, device: torch.device) -> float:
    """Median seconds of a step; nan where no valid sample could be had."""
    measurement = measure(model, protocol, device=device)
    return protocol.batch_size / measurement.images_per_second


def by_timer(model: nn.Module, protocol: MeasurementProtocol, device: torch.device) -> float:
    with precision_of(protocol, device):
        step = make_step(model, protocol, device)
        timer = Timer("step()", globals={"step": step}, num_threads=1)
        return float(timer.blocked_autorange(min_run_time=protocol.max_seconds).median)


def median_and_interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the two order statistics between which it lies with 95 % (6 or more)."""
    ordered = sorted(ratios)
    below = int(binom.ppf(0.025, len(ordered), 0.5)) - 1  # the rank's place, counted from 0
    low, high = ordered[max(0, below)], ordered[min(len(ordered) - 1, len(ordered) - 1 - below)]
    return round(statistics.median(ordered), 4), round(low, 4), round(high, 4)


def spread(arguments: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    cpus = len(os.sched_getaffinity(0))
    for state in [arguments.only] if arguments.only else ["idle", "busy"]:
        with bursts(cpus) if state == "busy" else nullcontext():
            repeats = [fresh_repeat(number) for number in range(arguments.repeats)]
        found[state] = {"load_average": round(os.getloadavg()[0], 2), **summary(repeats, METHODS)}
        for name, row in found[state]["methods"].items():
            print(state, name, row, flush=True)
        found[state]["repeats"] = repeats
    names = ("image_size", "batch_size", "max_seconds", "repeats")
    settings = {"model": REPEATED, "mode": "infer"}
    settings |= {name: getattr(arguments, name) for name in names}
    return {"settings": settings, **found}


def fresh_repeat(number: int) -> dict[str, Any]:
    options = [argument for argument in sys.argv[1:] if argument != "spread"]
    command = [sys.executable, __file__, "one-repeat", *options, "--number", str(number)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(done.stdout)
    print(number, *(f"{name}: {row[name]}" for name in METHODS), sep="  ", flush=True)
    return row


def one_repeat(arguments: argparse.Namespace) -> dict[str, Any]:
    """By each method images/s, None where there was no valid sample, and the seconds it took."""
    build = builder(REPEATED, arguments.image_size, load_registry())
    protocol = protocol_of(arguments, "infer")
    first = arguments.number % len(METHODS)
    row: dict[str, Any] = {}
    with device_lease(arguments.device, wait_seconds=math.inf):
        for name in (*METHODS[first:], *METHODS[:first]):
            begun = time.perf_counter()
            if name == FIXED:
                facts = fixed_mean(build(), protocol, arguments.device)
            else:
                budget = FAR_BUDGET if name.endswith("budget") else None
                facts = until_clear(build, protocol, budget, arguments.device)
            row[name] = {**facts, "seconds": round(time.perf_counter() - begun, 2)}
    return row


def fixed_mean(
    model: nn.Module, protocol: MeasurementProtocol, device: torch.device
) -> dict[str, Any]:
    """timm's way: each step waited for, the mean of all."""

    def seconds() -> float:
        begun = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begun

    with precision_of(protocol, device):
        step = make_step(model, protocol, device)
        for _ in range(WARM_UP_STEPS):
            step()
        mean = statistics.fmean(seconds() for _ in range(FIXED_STEPS))
    return {"images_per_second": round(protocol.batch_size / mean, 3)}


def until_clear(
    build: Callable[[], nn.Module],
    protocol: MeasurementProtocol,
    budget: float | None,
    device: torch.device,
) -> dict[str, Any]:
    """What a user of `search` gets, with waits and further attempts next to others."""
    attempts: list[Measurement] = []

    def counted(*given: Any, **named: Any) -> Measurement:
        attempts.append(measure(*given, **named))
        return attempts[-1]

    measurer = Measurer(
        device,
        check=lambda: None,
        note=lambda _text: None,
        sleep=time.sleep,
        measure=counted,
    )
    found = measurer.until_clear(build, protocol, budget).to_data()
    kept = ("images_per_second", "low", "high", "verdict", "looks", "restarts")
    discarded = sum(attempt.discarded_blocks for attempt in attempts)
    return {
        **{name: found[name] for name in kept},
        "attempts": len(attempts),
        "discarded": discarded,
    }


if __name__ == "__main__":
    main()
