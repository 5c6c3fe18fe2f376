"""What `gpu.py` runs: each section yields what it has found, piece by piece."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any, TypeAlias

import against_timm
import torch
from spec_to_verdict import summary, timed_verdicts
from study_measuring import PROCESS, WALL, Study, words_of
from study_orders import ALL, MAIN
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from metaformer import build_backbone, load_spec
from mixers import load_registry
from search.devices import is_out_of_memory
from search.doctor import examine, findings
from search.evaluation.extra_figures import latency_of_an_image, memory_of_a_step, time_by_part
from search.evaluation.model_source import ModelSource, read_model_source
from search.profiling.memory import largest_batch, release_memory
from search.profiling.roofline import count_work, device_rates, floor_seconds
from search.throughput import MeasurementProtocol, SystemClock, device_sensors, measure
from search.throughput.engine import measure_step
from search.throughput.protocol import Mode, Precision
from search.throughput.sensors import environment
from search.throughput.stopping import FEWEST_FOR_RANKS
from search.throughput.workload import make_step, precision_of

Found: TypeAlias = Iterator[tuple[str, Any]]
MODES: tuple[Mode, ...] = ("infer", "train")
TWO = ("inceptionnext_t", "convnext_t")
PARITY = ("inceptionnext_t", "convnext_t", "swin_t", "caformer_s18", "focalnet_t", "poolformer_s12")
BUDGET = 900.0  # images/s of a training step
CANDIDATES_SECONDS = 55.0  # after which no candidate begins


@dataclass
class Run:
    """One call: on what, how small, until when; `deadline` is the section's, `end` the call's."""

    device: torch.device
    quick: bool
    end: float
    deadline: float = 0.0
    left_out: list[str] = field(default_factory=list)

    def protocol(self, mode: Mode = "train", **more: Any) -> MeasurementProtocol:
        """The study's on a GPU; on a CPU what it can bear."""
        cuda = self.device.type == "cuda"
        plain = MeasurementProtocol(
            mode=mode,
            batch_size=4 if self.quick else 128 if cuda else 8,
            image_size=32 if self.quick else 224,
            precision="tf32" if cuda else "fp32",
            memory_format="channels_last",
            max_seconds=0.2 if self.quick else 1.5,
        )
        return replace(plain, **more)

    def network(self, name: str) -> ModelSource:
        return read_model_source(name, load_registry())

    def build(self, name: str) -> nn.Module:
        return self.network(name).build(self.protocol().image_size, self.device)

    def names(self, *names: str) -> tuple[str, ...]:
        return names[:1] if self.quick else names


@dataclass(frozen=True)
class Section:
    """`share` of all seconds; None is what the others leave."""

    name: str
    share: float | None
    steps: Callable[[Run], Found]


def surroundings(run: Run) -> Found:
    """What `search doctor` finds, and the environment that records hold."""
    facts = examine(str(run.device), precision=run.protocol().precision)
    private = ("host", "storage", "lease_holders")  # would name the machine and its folders
    data = {key: value for key, value in facts.to_data().items() if key not in private}
    yield "doctor", data
    yield "findings", [finding.to_data() for finding in findings(facts)]
    yield "record", {k: v for k, v in environment(run.device).items() if k != "host"}


def parity(run: Run) -> Found:
    """Logits in fp32 without TF32, here and on a CPU, against a CPU's in double precision."""
    for name in run.names(*PARITY):
        size = run.protocol().image_size
        torch.manual_seed(0)
        model = build_backbone(load_spec(name), image_size=size).eval()
        _reveal(model)
        images = torch.randn(2, 3, size, size)
        protocol = run.protocol(precision="fp32")
        with torch.inference_mode(), precision_of(protocol, run.device):
            logits = {"cpu_fp32": model(images)}
            here = model.to(run.device)
            for label, memory_format in against_timm.FORMATS.items():
                on_device = images.to(run.device, memory_format=memory_format)
                model.to(memory_format=memory_format)
                logits[f"device_fp32_{label}"] = here(on_device).cpu()
            exact = model.to("cpu").double()(images.double())
        yield name, {key: _relative(value, exact) for key, value in logits.items()}


def _reveal(model: nn.Module) -> None:
    """Random weights that hide nothing: a layer scale of 1e-6 would hide the mixers."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim <= 1:
                parameter.uniform_(0.5, 1.5)
        for name, buffer in model.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 1.5)


def _relative(value: Tensor, exact: Tensor) -> float:
    return float((value.double() - exact).abs().max() / exact.abs().max())


def study_eager(run: Run) -> Found:
    """The study's rows, all of them, both memory formats."""
    yield from _study(run, ("resnet50", MAIN[0]) if run.quick else ALL, compiled=False)


def study_compiled(run: Run) -> Found:
    """The study's main rows compiled, for as long as there is time."""
    yield from _study(run, ("resnet50", MAIN[0]) if run.quick else MAIN, compiled=True)


def _study(run: Run, names: tuple[str, ...], *, compiled: bool) -> Found:
    clock = WALL if run.device.type == "cuda" else PROCESS
    study = Study(run.device, run.deadline, 3 if run.quick else FEWEST_FOR_RANKS, clock)
    for memory_format in ("channels_last", "contiguous"):
        for mode in MODES:
            protocol = run.protocol(mode, memory_format=memory_format, compile=compiled)
            condition = study.measure(names, protocol)
            run.left_out, study.left_out = [*run.left_out, *study.left_out], []
            if condition is not None:
                yield words_of(protocol), condition


def engine_beside_timer(run: Run) -> Found:
    """Medians of the engine and of torch.utils.benchmark, of the same step, in turns."""
    for name in run.names("resnet50", "inceptionnext_t"):
        protocol = run.protocol("infer")
        sensors, clock = device_sensors(run.device), SystemClock()
        with precision_of(protocol, run.device):
            step = make_step(run.build(name), protocol, run.device)
            timer = Timer("step()", globals={"step": step})
            ratios = []
            for _ in range(1 if run.quick else 3):
                ours = measure_step(step, protocol, None, clock, sensors, {})
                theirs = timer.blocked_autorange(min_run_time=protocol.max_seconds)
                ratios.append(protocol.batch_size / ours.images_per_second / theirs.median)
        yield name, {"engine_over_timer": ratios, "median": median(ratios)}


def precisions(run: Run) -> Found:
    """Images/s in every precision that the device has."""
    cuda = run.device.type == "cuda"
    of_cuda: tuple[Precision, ...] = ("fp32", "tf32", "bf16", "fp16")
    for name in run.names(*TWO):
        for mode in MODES:
            for precision in of_cuda if cuda else ("fp32", "bf16"):
                protocol = run.protocol(mode, precision=precision)
                found = measure(run.build(name), protocol, device=run.device).to_data()
                found.pop("environment")
                yield f"{name}, {mode}, {precision}", found


def beside_timm(run: Run) -> Found:
    """Our backbones next to timm's, of the same weights; as `against_timm.py`."""
    protocol = run.protocol(batch_size=4 if run.quick else 64)
    sizes = argparse.Namespace(image_size=protocol.image_size, batch_size=protocol.batch_size)
    with precision_of(protocol, run.device):
        for name in run.names("inceptionnext_t", "convnext_t", "swin_t", "caformer_s18"):
            for labels, ours, theirs in against_timm.running(name, sizes, run.device):
                pairs = 3 if run.quick else 15
                ratios, seconds = against_timm.interleaved(ours, theirs, pairs, run.device)
                low, high = against_timm.bootstrap(ratios)
                figures = {"ratio": median(ratios), "low": low, "high": high}
                yield ", ".join([name, *labels.values()]), {**figures, "seconds_ours": seconds}


def floors_and_parts(run: Run) -> Found:
    """The device's rates; where the time of a step goes, next to its floors."""
    for precision in {run.protocol().precision, "bf16"}:
        yield f"rates, {precision}", asdict(device_rates(run.device, precision))
    for mode in MODES:
        protocol, network = run.protocol(mode), run.network("inceptionnext_t")
        work = count_work(run.build(network.name), protocol)
        rates = device_rates(run.device, protocol.precision)
        yield f"floor, {mode}", {**asdict(work), "seconds": floor_seconds(work, rates)}
        yield f"parts, {mode}", time_by_part(network, protocol, run.device)


def memory(run: Run) -> Found:
    """Bytes of a step at its peak, seconds of one image, and the largest batch that fits."""
    for name in run.names(*TWO):
        network = run.network(name)
        for mode in MODES:
            protocol = run.protocol(mode)
            yield f"peak bytes, {name}, {mode}", memory_of_a_step(network, protocol, run.device)
        yield f"latency, {name}", latency_of_an_image(network, run.protocol(), run.device)
    protocol, model = run.protocol(), run.build(TWO[0])
    with precision_of(protocol, run.device):
        largest = largest_batch(
            lambda batch: make_step(model, replace(protocol, batch_size=batch), run.device),
            start=protocol.batch_size,
            limit=65536 if run.device.type == "cuda" else 2 * protocol.batch_size,
            is_out_of_memory=is_out_of_memory,
            release=release_memory,
        )
    yield f"largest batch, {TWO[0]}, train", largest


def candidates(run: Run) -> Found:
    """Random candidates of the default space, from spec to verdict."""
    rows = timed_verdicts(
        run.device,
        budget=BUDGET,
        candidates=2 if run.quick else 20,
        deadline_seconds=CANDIDATES_SECONDS,
    )
    yield "summary", summary(rows)
    yield "rows", rows


SECTIONS = (
    Section("environment", 0.05, surroundings),
    Section("parity", 0.08, parity),
    Section("study_eager", 0.45, study_eager),
    Section("engine_beside_timer", 0.06, engine_beside_timer),
    Section("precisions", 0.13, precisions),
    Section("beside_timm", 0.08, beside_timm),
    Section("floors_and_parts", 0.06, floors_and_parts),
    Section("candidates", 0.12, candidates),
    Section("memory", 0.1, memory),
    Section("study_compiled", None, study_compiled),
)
