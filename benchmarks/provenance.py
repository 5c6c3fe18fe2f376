"""Where a benchmark's figures come from: device, versions, command, date."""

from __future__ import annotations

import datetime
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from search.throughput.sensors import environment


def _commit() -> str:
    """The commit that is checked out, with `-dirty` where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    here = Path(__file__).parent
    return subprocess.run(command, cwd=here, capture_output=True, text=True).stdout.strip()


def provenance() -> dict[str, Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    facts = {key: value for key, value in environment(device).items() if key != "host"}
    return {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", *sys.argv]),
        "python": platform.python_version(),
        "commit": _commit(),
        "timm": version("timm"),
        "optuna": version("optuna"),
        "metaformer-search": version("metaformer-search"),
        **facts,
    }
