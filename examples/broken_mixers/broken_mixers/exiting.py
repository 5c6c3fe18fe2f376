from __future__ import annotations

raise SystemExit("this machine has no licence")
