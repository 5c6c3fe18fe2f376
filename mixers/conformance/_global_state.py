"""Snapshot of a process's global state, compared and restored around a check."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mixers.conformance._functions import Functions
from mixers.conformance._process_state import PROCESS_PARTS

TORCH_RANDOM = "torch's random state"


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


_HOOKS = (
    "_global_forward_pre_hooks",
    "_global_forward_hooks",
    "_global_backward_pre_hooks",
    "_global_backward_hooks",
    "_global_parameter_registration_hooks",
    "_global_buffer_registration_hooks",
    "_global_module_registration_hooks",
)


def _read_hooks() -> dict[str, dict[Any, Any]]:
    return {name: dict(getattr(torch.nn.modules.module, name)) for name in _HOOKS}


def _write_hooks(hooks: dict[str, dict[Any, Any]]) -> None:
    for name, before in hooks.items():
        now = getattr(torch.nn.modules.module, name)
        now.clear()
        now.update(before)


def _backend(name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """Getter and setter of a backend's flag in torch._C, which warn of no mixture of interfaces."""

    def read() -> Any:
        with suppress(RuntimeError):  # set by the other of torch's two interfaces
            return getattr(torch._C, f"_get_{name}")()
        return None

    def write(value: Any) -> None:
        if value is not None:
            getattr(torch._C, f"_set_{name}")(value)

    return read, write


def _fp32_precision(device: str, kind: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    def read() -> Any:
        return torch._C._get_fp32_precision_getter(device, kind)

    def write(value: Any) -> None:
        setter: Any = torch._C._set_fp32_precision_setter  # its stub lacks an argument
        setter(device, kind, value)

    return read, write


_BACKENDS = {
    "torch.backends.cudnn.enabled": _backend("cudnn_enabled"),
    "torch.backends.cudnn.benchmark": _backend("cudnn_benchmark"),
    "torch.backends.cudnn.deterministic": _backend("cudnn_deterministic"),
    "torch.backends.cudnn.allow_tf32": _backend("cudnn_allow_tf32"),
    "torch.backends.cuda.matmul.allow_tf32": _backend("cublas_allow_tf32"),
    "torch.backends.mkldnn.enabled": _backend("mkldnn_enabled"),
    "torch.backends.mkldnn.deterministic": _backend("mkldnn_deterministic"),
    "torch.backends.nnpack": _backend("nnpack_enabled"),
    "torch.backends.cuda.flash_sdp": (
        torch.backends.cuda.flash_sdp_enabled,
        torch.backends.cuda.enable_flash_sdp,
    ),
    "torch.backends.cuda.mem_efficient_sdp": (
        torch.backends.cuda.mem_efficient_sdp_enabled,
        torch.backends.cuda.enable_mem_efficient_sdp,
    ),
    "torch.backends.cuda.math_sdp": (
        torch.backends.cuda.math_sdp_enabled,
        torch.backends.cuda.enable_math_sdp,
    ),
    "torch.backends.cuda.cudnn_sdp": (
        torch.backends.cuda.cudnn_sdp_enabled,
        torch.backends.cuda.enable_cudnn_sdp,
    ),
    "torch.backends.mha.fastpath": (
        torch.backends.mha.get_fastpath_enabled,
        torch.backends.mha.set_fastpath_enabled,
    ),
}
if hasattr(torch._C, "_get_fp32_precision_getter"):  # since torch 2.9
    for _where in ("generic.all", "cuda.all", "cuda.matmul", "cuda.conv", "mkldnn.matmul"):
        _BACKENDS[f"the fp32_precision of {_where}"] = _fp32_precision(*_where.split("."))


def _read_autocast() -> tuple[Any, ...]:
    devices = ("cpu", "cuda")
    enabled = tuple(torch.is_autocast_enabled(device) for device in devices)
    return enabled, tuple(torch.get_autocast_dtype(device) for device in devices)


def _write_autocast(state: tuple[Any, ...]) -> None:
    for device, enabled, dtype in zip(("cpu", "cuda"), *state, strict=True):
        torch.set_autocast_enabled(device, enabled)
        torch.set_autocast_dtype(device, dtype)


def _read_anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _write_anomaly(state: tuple[bool, bool]) -> None:
    torch.autograd.set_detect_anomaly(*state)


def _write_denormals(flushed: bool) -> None:
    torch.set_flush_denormal(flushed)


def _write_numpy_errors(state: Any) -> None:
    np.seterr(**state)


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
    **_BACKENDS,
    "torch's flushing of denormals": (
        lambda: float(torch.tensor(1e-40) * 1) == 0,
        _write_denormals,
    ),
    "torch's number of interop threads": (torch.get_num_interop_threads, lambda _: None),
    "torch's warnings at each occurrence": (torch.is_warn_always_enabled, torch.set_warn_always),
    "torch's sharing strategy": (
        torch.multiprocessing.get_sharing_strategy,
        torch.multiprocessing.set_sharing_strategy,
    ),
    "torch's autocast": (_read_autocast, _write_autocast),
    "torch's anomaly detection": (_read_anomaly, _write_anomaly),
    "torch's hooks of all modules": (_read_hooks, _write_hooks),
    "numpy's treatment of errors": (np.geterr, _write_numpy_errors),
    **PROCESS_PARTS,
}


@dataclass(frozen=True)
class GlobalState:
    """The shared state at one moment, by the words that name each part."""

    parts: dict[str, Any]
    functions: Functions

    @classmethod
    def take(cls) -> GlobalState:
        parts = {words: read() for words, (read, _) in _PARTS.items()}
        return cls(parts, Functions.take())

    def changed(self) -> list[str]:
        """The parts that are no longer as they were."""
        parts = [words for words, (read, _) in _PARTS.items() if read() != self.parts[words]]
        return [*parts, *self.functions.changed()]

    def restore(self) -> None:
        self.functions.restore()
        for words, (read, write) in _PARTS.items():
            if read() != self.parts[words]:
                write(self.parts[words])


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
