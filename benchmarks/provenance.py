"""Where a benchmark's figures come from: device, versions, command, date."""

from __future__ import annotations

import datetime
import platform
import shlex
import sys
from importlib.metadata import version
from typing import Any

import torch

from search.throughput.sensors import environment


def provenance() -> dict[str, Any]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    facts = {key: value for key, value in environment(device).items() if key != "host"}
    return {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["python", *sys.argv]),
        "python": platform.python_version(),
        "timm": version("timm"),
        "optuna": version("optuna"),
        "metaformer-search": version("metaformer-search"),
        **facts,
    }
