"""What a process shares: taken, compared and put back around a check."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

TORCH_RANDOM = "torch's random state"


def _write_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


def _write_warning_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]  # a list, typed as a sequence


def _read_numpy() -> Any:
    state: Any = np.random.get_state()
    return (state[0], tuple(state[1].tolist()), *state[2:])


def _read_deterministic() -> tuple[bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


def _write_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _write_torch_random(state: bytes) -> None:
    torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


def _write_gradients(enabled: bool) -> None:
    torch.set_grad_enabled(enabled)


def _write_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


_PARTS: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "python's random state": (random.getstate, random.setstate),
    "numpy's random state": (_read_numpy, np.random.set_state),
    TORCH_RANDOM: (lambda: torch.get_rng_state().numpy().tobytes(), _write_torch_random),
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (torch.get_default_device, _write_device),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's gradient mode": (torch.is_grad_enabled, _write_gradients),
    "torch's deterministic algorithms": (_read_deterministic, _write_deterministic),
    "torch's float32 matmul precision": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    "os.environ": (lambda: dict(os.environ), _write_environment),
    "the warnings filters": (lambda: list(warnings.filters), _write_warning_filters),
}


@dataclass(frozen=True)
class GlobalState:
    """The shared state at one moment, by the words that name each part."""

    parts: dict[str, Any]

    @classmethod
    def take(cls) -> GlobalState:
        return cls({words: read() for words, (read, _) in _PARTS.items()})

    def changed(self) -> list[str]:
        """The parts that are no longer as they were."""
        return [words for words, (read, _) in _PARTS.items() if read() != self.parts[words]]

    def restore(self) -> None:
        for words in self.changed():
            _PARTS[words][1](self.parts[words])


def seed_torch(seed: int) -> None:
    """Seed torch's random numbers on the CPU, and on the device of the checks if it is a GPU."""
    torch.default_generator.manual_seed(seed)
    if torch.get_default_device().type == "cuda":
        torch.cuda.manual_seed(seed)


@contextmanager
def on_device(device: str) -> Iterator[None]:
    """Tensors are made on `device` inside, and its convolutions keep float32's precision."""
    if torch.device(device).type == "cpu":
        yield
        return
    exact = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=False, allow_tf32=False
    )
    with torch.device(device), exact:
        yield


@contextmanager
def isolated() -> Iterator[None]:
    """A known state inside (gradients, float32, torch's seed 0); outside, what was there before."""
    before = GlobalState.take()
    try:
        with torch.inference_mode(False), warnings.catch_warnings():
            torch.set_grad_enabled(True)
            torch.set_default_dtype(torch.float32)
            seed_torch(0)
            yield
    finally:
        before.restore()
