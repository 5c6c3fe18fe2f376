"""A module for a child process: reports on standard output where names are imported from."""

from __future__ import annotations

import importlib.util
import json
import sys

if __name__ == "__main__":
    origins = {
        name: getattr(importlib.util.find_spec(name), "origin", None) for name in sys.argv[1:]
    }
    print(json.dumps({"path": sys.path, "origins": origins}))
