"""`search measure`: images per second of one model, with a verdict."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from search.cli.budgets import ThroughputBudget, budgets_by_mode
from search.cli.errors import ExitCode, user_errors
from search.cli.output import echo
from search.cli.parameters import measured_device
from search.cli.plugins import command_registry

if TYPE_CHECKING:
    import torch

    from search.evaluation.model_source import ModelSource
    from search.throughput import MeasurementProtocol

_SIDE_FIGURES = ("breakdown", "latency", "memory", "budget_memory", "largest_batch")
_ONE_PART = "--breakdown: got --compile, which makes one of all parts; allowed: eager"
_positive = click.IntRange(min=1)


@click.command()
@click.argument("source", metavar="SPEC|timm:NAME|torchvision:NAME|RUN-FOLDER")
@click.option(
    "--budget-throughput",
    "budgets",
    multiple=True,
    type=ThroughputBudget(),
    metavar="[MODE:]N",
    help="Required images/s, e.g. 900 or infer:2900; may be given once per mode.",
)
@click.option(
    "--mode",
    type=click.Choice(["train", "infer"]),
    help="Training step or forward pass.  [default: train]",
)
@measured_device
@click.option(
    "--threads", type=_positive, default=1, show_default=True, help="torch threads on a CPU."
)
@click.option(
    "--batch-size",
    type=_positive,
    help="Batch size.  [default: 128 on CUDA, on a CPU by image size]",
)
@click.option(
    "--image-size",
    type=click.IntRange(4, 8192),
    help="Image size in pixels.  [default: the model's]",
)
@click.option("--precision", type=click.Choice(["fp32", "tf32", "bf16", "fp16"]))
@click.option(
    "--memory-format", type=click.Choice(["auto", "contiguous", "channels_last"]), default=None
)
@click.option(
    "--compile/--eager",
    "compiled",
    default=None,
    help="Compile with torch.compile, or run eagerly.",
)
@click.option(
    "--optimizer", type=click.Choice(["adamw", "sgd"]), help="Optimizer of the training step."
)
@click.option(
    "--max-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    help="Maximum seconds of measured work per mode.",
)
@click.option("--breakdown", is_flag=True, help="Time of a step by part.")
@click.option("--latency", is_flag=True, help="Latency of one image, forward pass.")
@click.option("--memory", is_flag=True, help="Peak memory of a step.")
@click.option(
    "--budget-memory",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GIB",
    help="Limit for the peak memory of a step.",
)
@click.option("--largest-batch", is_flag=True, help="Largest batch whose step fits the device.")
@click.option("--fresh", is_flag=True, help="Ignore cached measurements.")
@click.option(
    "--plugins", type=click.Path(), help="plugins.toml to use.  [default: ./plugins.toml]"
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the whole record with raw block times as JSON."
)
def measure(
    source: str,
    budgets: tuple[tuple[str | None, float], ...],
    mode: str | None,
    device: str,
    threads: int,
    max_seconds: float,
    fresh: bool,
    plugins: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Measure images per second of a model on this device, with a verdict on a budget.

    Exit code 0 for PASS, 3 for FAIL and BORDERLINE and if the batch does not fit, 4 if no
    valid sample could be had.
    """
    with user_errors():
        from search.evaluation.model_names import require_spec

        side = {name: asked.pop(name) for name in _SIDE_FIGURES}
        wanted: dict[str, float | None] = {**budgets_by_mode(budgets, mode)}
        wanted = wanted or {mode or "train": None}
        if side["breakdown"] and asked["compiled"]:
            raise click.UsageError(_ONE_PART)
        require_spec(source)
        registry = command_registry(plugins)

        import torch

        from search.devices import require_device
        from search.evaluation.model_source import read_model_source
        from search.evaluation.one_measurement import measured_record

        target = require_device(device)
        if target.type == "cpu":
            torch.set_num_threads(threads)
        network = read_model_source(source, registry)
        protocols = {kind: _protocol(network, target, kind, max_seconds, asked) for kind in wanted}
        if side["breakdown"] and any(protocol.compile for protocol in protocols.values()):
            raise click.UsageError(_ONE_PART)
        records = []
        try:
            for kind, budget in wanted.items():
                protocol = protocols[kind]
                record = measured_record(network, protocol, budget, target, fresh=fresh, note=_say)
                records.append(record)
                try:
                    with network.faults():
                        _add_side_figures(record, network, protocol, target, side)
                finally:  # what was measured is shown whatever comes after it
                    if not as_json:
                        _print(record)
        finally:
            if as_json and records:
                echo(json.dumps(records[0] if len(records) == 1 else records, indent=2))
        sys.exit(max(_code(record) for record in records))


def _say(text: str) -> None:
    echo(text, err=True)


def _protocol(
    network: ModelSource, device: torch.device, mode: str, max_seconds: float, asked: dict[str, Any]
) -> MeasurementProtocol:
    """Protocol of the options, over the study's settings, over the device's defaults."""
    from search.devices import precision_problem
    from search.errors import UsageError
    from search.evaluation.one_measurement import default_settings
    from search.throughput import MeasurementProtocol

    said = {
        "compile" if key == "compiled" else key: value
        for key, value in asked.items()
        if value is not None
    }
    settings = {**default_settings(network, device, said), **said}
    if words := precision_problem(settings["precision"], device):
        raise UsageError(f"--precision: {words}")
    return MeasurementProtocol(
        mode="train" if mode == "train" else "infer",
        in_channels=network.in_channels,
        max_seconds=max_seconds,
        **settings,
    )


def _add_side_figures(
    record: dict[str, Any],
    network: ModelSource,
    protocol: MeasurementProtocol,
    device: torch.device,
    side: dict[str, Any],
) -> None:
    """Puts what was asked for next to the throughput into the record."""
    from search.evaluation import extra_figures as side_figures

    if side["memory"] or side["budget_memory"] is not None:
        record["peak_memory_bytes"] = side_figures.memory_of_a_step(network, protocol, device)
        record["budget_memory_gib"] = side["budget_memory"]
    if side["latency"]:
        record["latency"] = side_figures.latency_of_an_image(network, protocol, device)
    if side["largest_batch"]:
        record["largest_batch"] = side_figures.largest_batch_that_fits(network, protocol, device)
    if side["breakdown"]:
        record["breakdown"] = side_figures.time_by_part(network, protocol, device)


def _code(record: dict[str, Any]) -> int:
    budget = record.get("budget_memory_gib")
    if budget is not None and record["peak_memory_bytes"] > budget * 2**30:
        return ExitCode.NOTHING_FEASIBLE
    if record["verdict"] in ("FAIL", "BORDERLINE"):
        return ExitCode.NOTHING_FEASIBLE
    if record["verdict"] == "CONTAMINATED":
        return ExitCode.ENVIRONMENT
    return ExitCode.NOTHING_FEASIBLE if record["reason"] else ExitCode.DONE  # it did not fit


def _print(record: dict[str, Any]) -> None:
    layout = record["memory_format"]
    compiled = "compiled" if record["compile"] else "eager"
    optimizer = f", {record['optimizer']}" if record["mode"] == "train" else ""
    echo(
        f"{record['name']}: {record['mode']}{optimizer}, batch {record['batch_size']}, "
        f"{record['image_size']} pixels, {record['precision']}, {layout}, {compiled}"
    )
    facts = record["environment"]
    where = facts["device_name"]
    where += f", {facts['threads']} of {facts['cpus']} threads" if facts["device"] == "cpu" else ""
    echo(f"on {where}, torch {facts['torch']}")
    if record["images_per_second"] is not None:
        interval = f"[{record['low']:.4g}, {record['high']:.4g}] at {1 - record['alpha']:.0%}"
        echo(f"{record['images_per_second']:.4g} images/s {interval}")
    if record["host_share"] is not None and record["host_share"] > 0.95:
        echo("the host is the limit: the device waits to be asked; try --compile")
    if record["budget"] is not None:
        reason = f": {record['reason']}" if record["reason"] else ""
        margin = ""
        if record["images_per_second"] is not None:
            margin = f", margin {record['images_per_second'] / record['budget'] - 1:+.1%}"
        echo(f"budget {record['budget']:g} images/s{margin}: {record['verdict']}{reason}")
    elif record["images_per_second"] is None:
        echo(record["reason"] or record["verdict"])
    if not record["reason"]:
        _print_work(record)
    _print_side_figures(record)


def _print_work(record: dict[str, Any]) -> None:
    """Print the measured work, and the blocks that were discarded."""
    seconds = sum(record["block_seconds"]) * record["steps_per_block"]
    blocks = f"{len(record['block_seconds'])} blocks of {record['steps_per_block']} steps"
    discarded = "".join(f"; discarded {n}: {why}" for why, n in record["discarded"].items())
    cached = f" (from the cache, {record['cached']})" if record["cached"] else ""
    echo(f"{seconds:.1f} s of measured work, {blocks}{discarded}{cached}")


def _print_side_figures(record: dict[str, Any]) -> None:
    from search.cli.breakdown_table import print_breakdown

    if "peak_memory_bytes" in record:
        peak, budget = record["peak_memory_bytes"] / 2**30, record["budget_memory_gib"]
        verdict = "" if budget is None else f", budget {budget:g} GiB: "
        verdict += "" if budget is None else ("PASS" if peak <= budget else "FAIL")
        echo(f"a step takes {peak:.3f} GiB at its peak{verdict}")
    if "latency" in record:
        milliseconds = [
            1000 * record["latency"][name]
            for name in ("median_seconds", "p90_seconds", "p99_seconds")
        ]
        figures = "{:.3g} ms, 90 % within {:.3g}, 99 % within {:.3g}".format(*milliseconds)
        echo(f"one image, forward: {figures}, over {record['latency']['runs']} runs")
    if "largest_batch" in record:
        echo(f"largest batch that fits: {record['largest_batch']} (no throughput of it here)")
    if "breakdown" in record:
        print_breakdown(record["breakdown"], record["breakdown"]["mixers"])
