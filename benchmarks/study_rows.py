"""The study's rows measured here, and which of the published orders hold on this device.

    python benchmarks/study_rows.py --device cpu --seconds 2100 --out FILE

A condition is a mode, a memory format, and eager or compiled. Its rows are built and warmed up,
then timed in rounds: every row once a round, one block of steps each, in an order drawn again.
Blocks are the engine's, and count under its rules; one that does not count is taken again three
times at the most. Compiled steps are compiled once and timed in all rounds. What did not fit into
`--seconds` is named under `left_out`. Run it twice or more, and let `study_join.py` say what all
processes tell alike.

`--clock process` is for one thread of a CPU that others use too: blocks are timed by the CPU time
of this process, so that only what others do to caches and memory remains of them.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch
from provenance import provenance
from study_measuring import PROCESS, WALL, Study, words_of
from study_orders import ALL, ALPHA, MAIN
from study_tables import tables

from search.storage.run_folder import write_atomically
from search.throughput import MeasurementProtocol

ROUNDS = 15  # two ratios on either side may lie outside the interval
SIZES: dict[str, dict[str, Any]] = {  # by device; 128 and TF32 are the study's
    "cpu": {"batch_size": 2, "image_size": 224, "precision": "fp32"},
    "cuda": {"batch_size": 128, "image_size": 224, "precision": "tf32"},
}


def as_json(result: Any) -> str:
    """JSON with every list of plain values on one line."""
    text = json.dumps(result, indent=1)
    return re.sub(r"\[[^\[\]{}]+\]", lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n"


def protocols(arguments: argparse.Namespace) -> list[MeasurementProtocol]:
    """Those asked for; what takes longest, and would be cut, comes last."""
    chosen = {
        key: value
        for key in ("batch_size", "image_size", "precision")
        if (value := getattr(arguments, key)) is not None
    }
    settings = SIZES[torch.device(arguments.device).type] | chosen
    choices = product(arguments.executions, arguments.modes, arguments.memory_formats)
    found = [
        MeasurementProtocol(
            mode=mode, memory_format=layout, compile=execution == "compiled", **settings
        )
        for execution, mode, layout in choices
    ]

    def cost(protocol: MeasurementProtocol) -> int:
        slow = protocol.mode == "train", protocol.compile, protocol.memory_format == "contiguous"
        return sum(slow)

    return sorted(found, key=cost)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows", choices=("main", "all"), default="all")
    parser.add_argument("--compiled-rows", choices=("main", "all"), default="main")
    parser.add_argument("--only", nargs="*", choices=ALL, help="these rows and no others")
    parser.add_argument("--modes", nargs="+", default=["infer", "train"])
    layouts = ["channels_last", "contiguous"]
    parser.add_argument("--memory-formats", nargs="+", default=layouts, choices=layouts)
    executions = ["eager", "compiled"]
    parser.add_argument("--executions", nargs="+", default=executions, choices=executions)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--precision", choices=("fp32", "tf32", "bf16", "fp16"))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=math.inf, help="for everything")
    parser.add_argument("--clock", choices=(WALL, PROCESS), default=WALL)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.clock == PROCESS and arguments.device != "cpu":
        parser.error("--clock process is for a CPU")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    device, deadline = torch.device(arguments.device), time.monotonic() + arguments.seconds
    study = Study(device, deadline, arguments.rounds, arguments.clock)
    result: dict[str, Any] = {"provenance": provenance(), "alpha": ALPHA, "conditions": []}
    for protocol in protocols(arguments):
        which = arguments.compiled_rows if protocol.compile else arguments.rows
        names = arguments.only or (MAIN if which == "main" else ALL)
        condition = study.measure(names, protocol)
        if condition is not None:
            result["conditions"].append(condition)
            print(words_of(protocol), condition["orders"], flush=True)
        result["left_out"] = study.left_out
        if arguments.out is not None:
            write_atomically(arguments.out, as_json(result))
    print(tables(result))


if __name__ == "__main__":
    main()
