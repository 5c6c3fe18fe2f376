"""Changes to the files of a run folder, for tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from search.storage.records import TrialRecord


def edit_trial(folder: Path, number: int, **changes: Any) -> None:
    """Change a record of `trials.jsonl` as if the study had written it so."""
    file = folder / "trials.jsonl"
    records = [TrialRecord.from_line(line) for line in file.read_text().splitlines()]
    changed = {**records[number].to_data(), **changes}
    records[number] = TrialRecord.from_data(changed)
    file.write_text("".join(record.to_line() + "\n" for record in records))


def edit_line(folder: Path, number: int, **changes: Any) -> None:
    """Change a line of `trials.jsonl` by hand: its checksum is removed."""
    file = folder / "trials.jsonl"
    lines = file.read_text().splitlines()
    data = {**json.loads(lines[number]), **changes}
    del data["checksum"]
    lines[number] = json.dumps(data)
    file.write_text("".join(line + "\n" for line in lines))
