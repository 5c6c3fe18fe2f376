from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from search.hardware.process_tree import ancestors, command_of, is_family, printable, start_ticks


def fake(proc: Path, pid: int, parent: int, name: str = "python") -> None:
    (proc / str(pid)).mkdir(parents=True)
    fields = ["S", str(parent), *["0"] * 17, "4711", "0"]
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {' '.join(fields)}\n")


def test_the_family_is_this_process_those_that_started_it_and_those_it_started() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert is_family(child.pid)
        child.communicate(b"\n")
    assert is_family(os.getpid())
    assert is_family(os.getppid())


def test_a_sibling_and_a_process_that_cannot_be_seen_are_foreign(tmp_path: Path) -> None:
    own = os.getpid()
    fake(tmp_path, own, 50)
    fake(tmp_path, 50, 1)
    fake(tmp_path, own + 1, 50)
    assert is_family(50, proc=tmp_path)
    assert not is_family(own + 1, proc=tmp_path)
    assert not is_family(own + 2, proc=tmp_path)


def test_a_name_with_spaces_and_brackets_does_not_shift_the_fields(tmp_path: Path) -> None:
    fake(tmp_path, 7, 3, name="a) S 9 (b")
    assert ancestors(7, proc=tmp_path) == [3]
    assert start_ticks(7, proc=tmp_path) == 4711


def test_a_loop_of_parents_ends(tmp_path: Path) -> None:
    fake(tmp_path, 7, 8)
    fake(tmp_path, 8, 7)
    assert len(ancestors(7, proc=tmp_path)) == 1000


def test_a_command_is_the_line_that_was_given_or_the_name_in_the_kernel(tmp_path: Path) -> None:
    fake(tmp_path, 7, 1)
    assert command_of(7, proc=tmp_path) == ""
    (tmp_path / "7" / "comm").write_text("kworker\n")
    assert command_of(7, proc=tmp_path) == "kworker"
    (tmp_path / "7" / "cmdline").write_bytes(b"python\0-m\0search\0")
    assert command_of(7, proc=tmp_path) == "python -m search"


def test_what_is_shown_cannot_control_a_terminal_and_is_short() -> None:
    assert printable("a\x1b[31m\nb") == "a?[31m?b"
    assert printable("x" * 30, 10) == "x" * 9 + "…"
