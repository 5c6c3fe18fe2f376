"""Count the published mixers, good and bad, that the conformance suite judges correctly.

    python benchmarks/conformance_set.py --out FILE

The mixers are those of tests/support/published_mixers. A good one is answered rightly if no check
fails and none warns; a bad one if a check that is named for its fault fails, or warns of the use of
resources. Each mixer has a process of its own, since bad ones change theirs, forked when torch is
loaded.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

import torch
from provenance import provenance

SUPPORT = Path(__file__).parents[1] / "tests" / "support"
sys.path.insert(0, str(SUPPORT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    parser.add_argument("--names", nargs="*", help="mixers to check; all by default")
    arguments = parser.parse_args()
    from published_mixers import BAD, GOOD

    torch.set_num_threads(1)
    check_one("PoolingMinusInput")  # loads the compiler once, for all
    rows = []
    for name in arguments.names or [*GOOD, *BAD]:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            rows.append(pool.apply(check_one, (name,)))
        print(as_line(rows[-1]), flush=True)
    for kind in ("good", "bad"):
        of_kind = [row for row in rows if row["kind"] == kind]
        print(f"{kind}: {sum(row['right'] for row in of_kind)} of {len(of_kind)} answered rightly")
    if arguments.out is not None:
        results = {"provenance": provenance(), "rows": rows}
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def check_one(name: str) -> dict[str, Any]:
    """Return the findings of the suite for one mixer, and whether they are right."""
    from published_mixers import BAD, GOOD

    from mixers.conformance import check_mixer

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
    return f"{row['kind']:4}  {row['mixer']:28}  {answer}  {found or 'nothing'}"


if __name__ == "__main__":
    main()
