"""How many good and bad mixers written after published ones the conformance suite answers rightly.

    python benchmarks/conformance_set.py --out FILE

The mixers are those of tests/support/published_mixers. A good one is answered rightly if no check
fails and none warns; a bad one if a check that is named for its fault fails, or warns of the use of
resources. Each mixer has a process of its own, since bad ones change theirs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SUPPORT = Path(__file__).parents[1] / "tests" / "support"
sys.path.insert(0, str(SUPPORT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    parser.add_argument("--names", nargs="*", help="mixers to check; all by default")
    parser.add_argument("--one", help="check one mixer and print its row")
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(check_one(arguments.one)))
        return
    from published_mixers import BAD, GOOD

    names = arguments.names or [*GOOD, *BAD]
    rows = []
    for name in names:
        command = [sys.executable, __file__, "--one", name]
        done = subprocess.run(command, capture_output=True, text=True)
        lines = done.stdout.splitlines()
        row = json.loads(lines[-1]) if lines else {"mixer": name, "right": False, "found": {}}
        rows.append(row)
        print(as_line(row), flush=True)
    for kind in ("good", "bad"):
        of_kind = [row for row in rows if row.get("kind") == kind]
        print(f"{kind}: {sum(row['right'] for row in of_kind)} of {len(of_kind)} answered rightly")
    if arguments.out is not None:
        from provenance import provenance

        results = {"provenance": provenance(), "rows": rows}
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def check_one(name: str) -> dict[str, Any]:
    """What the suite found in one mixer, and whether that is right."""
    import torch
    from published_mixers import BAD, GOOD

    from mixers.conformance import check_mixer

    torch.set_num_threads(1)
    kind, expected = (GOOD[name], ()) if name in GOOD else BAD[name]
    start = time.process_time()
    records = check_mixer(kind)
    seconds = time.process_time() - start
    found = {r.check: r.detail for r in records if r.status in ("FAILED", "WARNING")}
    return {
        "mixer": name,
        "kind": "good" if name in GOOD else "bad",
        "right": not found if name in GOOD else bool(found.keys() & set(expected)),
        "expected": list(expected),
        "found": found,
        "cpu_seconds": round(seconds, 2),
    }


def as_line(row: dict[str, Any]) -> str:
    found = "; ".join(f"{check}: {detail[:90]}" for check, detail in row["found"].items())
    answer = "right" if row["right"] else "WRONG"
    return f"{row.get('kind', '?'):4}  {row['mixer']:28}  {answer}  {found or 'nothing'}"


if __name__ == "__main__":
    main()
