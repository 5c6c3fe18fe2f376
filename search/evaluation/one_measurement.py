"""One model measured under one protocol, as a record: from the cache if nothing has changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import torch

from mixers import InputError, MixerError
from search.devices import is_out_of_memory, precision_problem
from search.errors import EnvironmentProblem, UsageError
from search.evaluation._cache import cache_key, keep, read_cached
from search.evaluation._static_bounds import memory_problem, speed_problem, step_bytes
from search.evaluation.measurer import Measurer
from search.evaluation.model_source import ModelSource
from search.profiling.roofline import count_work, floor_seconds
from search.throughput import LeaseTimeout, Measurement, MeasurementProtocol, Verdict
from search.throughput.sensors import environment

LEASE_SECONDS = 300.0  # to wait for a device that another process has
LONG_STEP_SECONDS = 1.0  # from here on it is said beforehand
_LARGE_IMAGE = 96  # pixels; from here on a CPU is given small batches
_SETTINGS = ("image_size", "batch_size", "precision", "memory_format", "compile", "optimizer")


def default_settings(
    network: ModelSource, device: torch.device, said: dict[str, Any]
) -> dict[str, Any]:
    """Return the settings that were not given: the study's for a run folder, else the model's
    own size, and on CUDA batch 128 in TF32 (fp32 if there is none), on a CPU fp32 with a batch
    that a CPU can bear."""
    own = {key: network.settings[key] for key in _SETTINGS if key in network.settings}
    if own:
        return own
    size = said.get("image_size", network.image_size)
    if device.type == "cuda":
        precision = "fp32" if precision_problem("tf32", device) else "tf32"
        return {"image_size": size, "batch_size": 128, "precision": precision}
    return {
        "image_size": size,
        "batch_size": 8 if size >= _LARGE_IMAGE else 64,
        "precision": "fp32",
    }


def measured_record(
    network: ModelSource,
    protocol: MeasurementProtocol,
    budget: float | None,
    device: torch.device,
    *,
    fresh: bool = False,
    note: Callable[[str], None] = lambda _text: None,
) -> dict[str, Any]:
    """The record of a measurement with the network's name, digest, spec and mixers.

    What does not fit the memory is FAIL with the reason `out of memory`. UsageError if the model
    raises, EnvironmentProblem if it cannot be compiled here.
    """
    if protocol.memory_format == "auto":
        protocol = replace(protocol, memory_format="channels_last")
    key = cache_key(network, protocol, budget, environment(device))
    cached = read_cached(key) if key is not None and not fresh else None
    if cached is not None:
        return cached
    record = _take(network, protocol, budget, device, note)
    if key is not None and record["verdict"] != Verdict.CONTAMINATED:
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        entry = {**record, "cached": f"measured {today}; --fresh measures again"}
        if trouble := keep(key, entry):
            note(f"not kept in the cache: {trouble}")
    return record


def _take(
    network: ModelSource,
    protocol: MeasurementProtocol,
    budget: float | None,
    device: torch.device,
    note: Callable[[str], None],
) -> dict[str, Any]:
    measurer = Measurer(
        device, check=lambda: None, note=note, sleep=time.sleep, wait_seconds=LEASE_SECONDS
    )
    try:
        reason = _foretold(network, protocol, budget, measurer, note)
        if reason:
            measurement = _nothing(protocol, budget, device)
        else:
            with network.faults():
                measurement = measurer.until_clear(
                    lambda: network.build(protocol.image_size, device), protocol, budget
                )
    except EnvironmentProblem:
        raise
    except (InputError, MixerError) as error:
        if not is_out_of_memory(error):
            raise
        reason = f"out of memory at batch {protocol.batch_size}"
        measurement = _nothing(protocol, budget, device)
    except LeaseTimeout as error:
        raise EnvironmentProblem(str(error)) from None
    except Exception as error:  # a model's code may raise anything
        if isinstance(error, OSError):  # a compiler's cache, a full disk: of the machine
            where = f"{error.filename}: " if error.filename else ""
            raise EnvironmentProblem(
                f"{network.name} cannot be measured: {where}{error.strerror or error}"
            ) from error
        if is_out_of_memory(error):
            reason = f"out of memory at batch {protocol.batch_size}"
            measurement = _nothing(protocol, budget, device)
        elif protocol.compile and _is_of_the_compiler(error):
            words = str(error).strip().splitlines()
            raise EnvironmentProblem(f"{network.name} cannot be compiled: {words[0]}") from error
        else:
            words = str(error).strip().splitlines() or [""]
            raise UsageError(
                f"{network.name} raises at {protocol.image_size} pixels, batch "
                f"{protocol.batch_size}: {type(error).__name__}: {words[0]}"
            ) from error
    return {
        "name": network.name,
        "digest": network.digest,
        **measurement.to_data(),
        "reason": reason,
        "spec": None if network.spec is None else network.spec.to_data(),
        "mixers": network.mixers,
        "cached": "",
    }


def _foretold(
    network: ModelSource,
    protocol: MeasurementProtocol,
    budget: float | None,
    measurer: Measurer,
    note: Callable[[str], None],
) -> str:
    """Why nothing need be run, in words: the memory, or the floor; empty if it must be."""
    try:
        model = network.build(protocol.image_size, "meta")
        needed, work = step_bytes(model, protocol), count_work(model, protocol)
    except (InputError, MixerError):
        raise
    except Exception:  # noqa: BLE001  # code that asks for values, or raises: the run will tell
        return ""
    problem = memory_problem(needed, measurer.device)
    if problem is not None:
        return f"out of memory at batch {protocol.batch_size}: a step {problem}"
    rates = measurer.rates(protocol.precision)
    if rates is None:
        return ""
    if budget is not None:
        too_slow = speed_problem(work, protocol, budget, measurer.device, rates)
        if too_slow is not None:
            return f"{too_slow[1]}; without a budget it is measured"
    seconds = floor_seconds(work, rates)
    if seconds > LONG_STEP_SECONDS:
        note(f"a step takes {seconds:.2g} s here or longer, and an answer six steps or more")
    return ""


def _nothing(
    protocol: MeasurementProtocol, budget: float | None, device: torch.device
) -> Measurement:
    """The record of what could not be run at all."""
    nan = float("nan")
    return Measurement(
        protocol=protocol,
        budget=budget,
        images_per_second=nan,
        low=nan,
        high=nan,
        verdict=None if budget is None else Verdict.FAIL,
        block_seconds=(),
        steps_per_block=0,
        looks=0,
        environment=environment(device),
    )


def _is_of_the_compiler(error: BaseException) -> bool:
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
