"""The whole state of a training after an epoch, in a file that no moment tears."""

from __future__ import annotations

import hashlib
import io
import json
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from search.atomic_write import write_atomically
from search.data import Splits
from search.training.config import TrainConfig

SCHEMA = 1


class CheckpointProblem(ValueError):
    """A checkpoint that cannot be gone on from: damaged, or of another training."""


def save_state(file: Path, state: dict[str, Any], identity: str) -> None:
    """Writes `state`, of tensors and plain values, to `file`, whole or not at all.

    `identity` says which training it is of. OSError if there is no room for it.
    """
    content = io.BytesIO()
    torch.save({"schema": SCHEMA, "identity": identity, "state": state}, content)
    try:
        _write(file, content.getvalue())
    except FileNotFoundError:  # another training has just ended and removed the empty folder
        _write(file, content.getvalue())


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content)


def load_state(file: Path, identity: str, device: torch.device) -> dict[str, Any] | None:
    """Return what `save_state` wrote, its tensors on `device`; None if there is no such file.

    Nothing in the file is run. CheckpointProblem if it is damaged or of another training.
    """
    try:
        kept = torch.load(file, map_location=device, weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:  # torch raises whatever a damaged file leads it to
        raise CheckpointProblem(f"{file}: no checkpoint that can be read: {error}") from error
    if not isinstance(kept, dict) or kept.get("schema") != SCHEMA:
        raise CheckpointProblem(f"{file}: no checkpoint of this version")
    if kept.get("identity") != identity:
        raise CheckpointProblem(f"{file}: the checkpoint is of another training")
    state: dict[str, Any] = kept["state"]
    return state


def forget_state(file: Path | None) -> None:
    """Removes what a training that has ended needs no more, and its folder after the last."""
    if file is not None:
        file.unlink(missing_ok=True)
        with suppress(OSError):  # others are still training
            file.parent.rmdir()


def identity_of(
    model: nn.Module,
    data: Splits,
    config: TrainConfig,
    seed: int,
    trainer: dict[str, str] | None = None,
) -> str:
    """16 hexadecimal digits of what a training follows from: settings, seed, data, the names and
    shapes of the model's tensors, a trainer of others with its version, torch and timm."""
    said = {
        "train": config.model_dump(mode="json"),
        "seed": seed,
        "trainer": trainer,
        "data": data.identity(),
        "model": {name: list(value.shape) for name, value in model.state_dict().items()},
        "versions": [version("torch"), version("timm")],
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
