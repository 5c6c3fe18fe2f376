"""Measurements that need not be taken again: the same network, code, protocol, budget and device.

A file each in the user's cache folder. What runs from an editable install or a local file may have
changed since, so it is never kept; nothing is ever taken from another device or another host.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

from mixers.provenance import files_digest, install_origin
from mixers.scan import OWN_DISTRIBUTION
from search.atomic_write import write_atomically
from search.evaluation.model_source import ModelSource
from search.throughput import MeasurementProtocol
from search.throughput.measurement import Measurement
from search.user_cache import user_cache

_DEVICE = (
    "device", "device_name", "device_uuid", "host", "cpus", "threads", "cuda", "cudnn",
    "cudnn_benchmark", "cudnn_deterministic", "torch",
)  # fmt: skip
_VERSIONED = ("torch", "timm", "torchvision")
_ENTRY = {  # keys without which a file is not a record
    *(part.name for part in fields(MeasurementProtocol)),
    *(part.name for part in fields(Measurement) if part.name != "protocol"),
    "name", "digest", "reason", "cached",
}  # fmt: skip


def cache_folder() -> Path:
    """The folder of the entries; OSError if the user has no cache folder."""
    return user_cache() / "measurements"


def cache_key(
    network: ModelSource,
    protocol: MeasurementProtocol,
    budget: float | None,
    environment: Mapping[str, Any],
) -> str | None:
    """Digest of what a measurement depends on; None if its code may change unseen."""
    own = distribution(OWN_DISTRIBUTION)
    code = [{"origin": install_origin(own), "files": files_digest(own)}, *network.mixers]
    if any(not part.get("files") or _may_change(str(part.get("origin"))) for part in code):
        return None
    parts = {
        "digest": network.digest,
        "code": [part["files"] for part in code],
        "versions": {name: version(name) for name in _VERSIONED},
        "protocol": asdict(protocol),
        "budget": budget,
        "environment": {name: environment.get(name) for name in _DEVICE},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _may_change(origin: str) -> bool:
    return origin.startswith(("editable ", "file "))


def read_cached(key: str) -> dict[str, Any] | None:
    """The record under that key; None if there is none that can be read."""
    try:
        data = json.loads((cache_folder() / f"{key}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) and data.keys() >= _ENTRY else None


def keep(key: str, record: Mapping[str, Any]) -> str:
    """Write a record into the cache.

    Returns:
        Why it could not be kept, empty if it was: a cache that cannot be had is no error.
    """
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_atomically(cache_folder() / f"{key}.json", json.dumps(record))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return ""
