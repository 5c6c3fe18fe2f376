"""Each file of a run folder damaged in a dozen ways, each command: one message, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny import STUDY, write_study

from search.cli import main
from search.storage.records import TrialRecord

COUNTED = STUDY.replace("{train: 1}", "{params: 100000000}").replace("trials: 3", "trials: 2")
RUN = Path("runs/tiny")
COMMANDS = {
    "status": ["status", "runs/tiny"],
    "status --json": ["status", "runs/tiny", "--json"],
    "status of all": ["status"],
    "rerun": ["rerun", "runs/tiny", "1"],
    "export": ["export", "runs/tiny", "--to", "folder", "--out", "exported", "--force"],
    "fork": ["fork", "runs/tiny", "--name", "forked"],
    "resume": ["resume", "runs/tiny"],
    "run": ["run", "tiny.yaml"],
}
ALLOWED = {0, 2, 3, 4, 5}
READ_BY = {  # each file, and the commands that may be led astray by it
    "study.yaml": COMMANDS,
    "journal.log": ("status", "resume", "fork"),
    "trials.jsonl": ("status", "rerun", "export", "resume"),
    "summary.json": ("status", "status of all", "export", "resume"),
    "best.yaml": ("export", "resume"),
    "best.safetensors": ("export", "resume"),
    "errors.log": ("resume",),
    "study.lock": ("status", "resume"),
    "journal.lock": ("resume",),
}


def replaced(old: bytes, new: bytes) -> Callable[[Path], None]:
    return lambda file: _write(file, file.read_bytes().replace(old, new, 1))


def _write(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def linked(file: Path) -> None:
    shutil.move(file, "outside")
    file.symlink_to(Path("outside").resolve())


def folder_in_its_place(file: Path) -> None:
    file.unlink()
    file.mkdir()


def pipe_in_its_place(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def a_digit_changed(file: Path) -> None:
    data = bytearray(file.read_bytes())
    digits = [index for index, byte in enumerate(data) if chr(byte).isdigit()]
    for index in digits[len(digits) // 2 :][:1]:
        data[index] = ord("7") if data[index] != ord("7") else ord("3")
    file.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "removed": Path.unlink,
    "emptied": lambda file: _write(file, b""),
    "cut in the middle": lambda file: _write(file, file.read_bytes()[: -file.stat().st_size // 2]),
    "cut at a line": lambda file: _write(file, b"\n".join(file.read_bytes().split(b"\n")[:1])),
    "a byte that is no UTF-8": lambda file: _write(file, b"\xff" + file.read_bytes()),
    "zeros": lambda file: _write(file, bytes(len(file.read_bytes()))),
    "a list": lambda file: _write(file, b"[1, 2]\n"),
    "a number": lambda file: _write(file, b"7\n"),
    "nested": lambda file: _write(file, b"[" * 100_000 + b"]" * 100_000 + b"\n"),
    "NaN": replaced(b": ", b": NaN"),
    "a line twice": lambda file: _write(file, file.read_bytes().replace(b"\n", b"\n\n", 1)),
    "another type": replaced(b"[", b'"["'),
    "null": lambda file: _write(file, b"null\n"),
    "a key renamed": replaced(b"name", b"nome"),
    "another name": replaced(b"tiny", b"../x"),
    "a digit changed": a_digit_changed,
    "a mark before it": lambda file: _write(file, b"\xef\xbb\xbf" + file.read_bytes()),
    "other line ends": lambda file: _write(file, file.read_bytes().replace(b"\n", b"\r\n")),
    "a link": linked,
    "a dangling link": lambda file: (file.unlink(), file.symlink_to("nowhere"))[0],
    "a folder": folder_in_its_place,
    "a pipe": pipe_in_its_place,
}


@pytest.fixture
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study of counted budgets, made once."""
    kept = tmp_path_factory.getbasetemp() / "counted"
    write_study(COUNTED)
    if not kept.exists():
        result = CliRunner().invoke(main, ["run", "tiny.yaml", "--out", str(kept)])
        assert result.exit_code == 0, result.output
        (kept / "tiny" / "errors.log").write_text("trial 7\nTraceback\n")
    return kept / "tiny"


def whole_records(folder: Path) -> set[str]:
    """Every record that can be read anywhere in the folder, whatever the file is called."""
    found = set()
    for file in folder.iterdir():
        if file.is_file() and not file.is_symlink():
            for line in file.read_bytes().splitlines():
                try:
                    data = json.loads(line)
                    text = data.get("user_attr", {}).get("record", line.decode())
                    found.add(TrialRecord.from_line(text).to_line())
                except (ValueError, AttributeError, RecursionError):
                    continue
    return found


def violations(kept: Path, file: str, damage: str) -> list[str]:
    """Return what each command does that it must not, with `file` damaged."""
    found = []
    for name in READ_BY[file]:
        for leftover in ("runs", "exported", "outside", "nowhere"):
            path = Path(leftover)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        shutil.copytree(kept, RUN)
        DAMAGES[damage](RUN / file)
        before = whole_records(RUN)
        outside = Path("outside").read_bytes() if Path("outside").exists() else None
        result = CliRunner().invoke(main, COMMANDS[name])
        what = f"{file}: {damage}: {name}: exit {result.exit_code}"
        if isinstance(result.exception, Exception) or result.exit_code not in ALLOWED:
            found.append(f"{what}: {result.exception!r}")
        if result.exit_code and not result.output.strip():
            found.append(f"{what}: no message")
        if not before <= whole_records(RUN):
            found.append(f"{what}: a record is gone: {result.output}")
        if Path("nowhere").exists() or outside != (
            Path("outside").read_bytes() if outside is not None else None
        ):
            found.append(f"{what}: wrote outside")
    return found


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damage_loses_a_record_or_ends_in_a_traceback(kept: Path, damage: str) -> None:
    assert not [line for file in READ_BY for line in violations(kept, file, damage)]
